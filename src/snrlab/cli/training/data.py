"""`snrlab data`: what training would see of a folder, a run file or a dataset TOML."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snrlab.core.errors import UserError
from snrlab.core.regular_file import check_regular_file
from snrlab.files.text import LARGEST_TEXT
from snrlab.installation import install_command

if TYPE_CHECKING:
    from snrlab.config.run import RunConfig
    from snrlab.config.sections.data import DataConfig

_KOHYA_TRAINING = {"pretrained_model_name_or_path", "train_data_dir", "dataset_config", "network_module", "output_name"}


def data_command(
    source: Annotated[Path, typer.Argument(help="Folder of images, run file, or kohya dataset TOML.")],
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a field, such as data.buckets=true.", metavar="KEY=VALUE"),
    ] = None,
) -> None:
    """Show what training would see: images, captions, sizes, repeats, steps, and what is wrong.

    The exit code is 2 if training would refuse the images.

    Example: snrlab data pictures --set data.buckets=true
    """
    try:
        from snrlab.data.dataset import find, refuse_batch_of_repeats, select_items
        from snrlab.data.overview import arithmetic, overview
    except ImportError:
        raise UserError(f"reading images needs Pillow: {install_command('train')}.", code="missing-package") from None
    config, run = _read_source(source, sets or [])
    discovery = find(config)
    items, validation_items = select_items(
        discovery,
        config,
        seed=run.seed if run else 0,
        hold_back=run.validation.images if run else 0,
        batch_size=run.train.batch_size if run else None,
    )
    typer.echo(overview(discovery, items, validation_items))
    if run:
        image_count = sum(item.repeats for item in items)
        train = run.train.in_steps(image_count)
        refuse_batch_of_repeats(train.batch_size, items)
        typer.echo("\n" + arithmetic(image_count, train.batch_size, train.gradient_accumulation, train.steps))


def _read_source(source: Path, overrides: list[str]) -> tuple[DataConfig, RunConfig | None]:
    """The [data] section of a source, and its run if it is a run file."""
    if source.suffix.lower() not in (".toml", ".json") or not source.is_file():
        return _data_section({"folder": str(source)}, overrides), None
    from snrlab.config.load import read_run

    content = _read_tables(source)
    if "datasets" in content:
        return _data_section({"dataset_config": str(source)}, overrides), None
    if "data" in content or "model" in content:
        run = read_run(source, overrides)
        return run.data, run
    flat = content | {k: v for table in content.values() if isinstance(table, dict) for k, v in table.items()}
    if _KOHYA_TRAINING & flat.keys():
        named = flat.get("dataset_config") or flat.get("train_data_dir")
        raise UserError(
            f"{source} is a kohya training config; give its dataset TOML or its folder of images"
            f"{f', {named}' if named else ''}.",
            code="wrong-file",
        )
    raise UserError(
        f"{source} is neither a run file, which has [data], nor a dataset TOML, which has [[datasets]].",
        code="wrong-file",
    )


def _data_section(values: dict[str, Any], overrides: list[str]) -> DataConfig:
    from snrlab.config.load import apply_overrides, parse_section
    from snrlab.config.sections.data import DataConfig

    tables = apply_overrides({"data": values}, overrides)
    others = [key for key in tables if key != "data"]
    if others and others[0] in DataConfig.model_fields:
        raise UserError(f"--set {others[0]}: write data.{others[0]}, with its section.", code="unknown-key")
    if others:
        raise UserError(
            f"--set {others[0]}: only fields of [data] can be set without a run file, such as data.buckets=true.",
            code="unused-option",
        )
    return parse_section(tables["data"], DataConfig, "data")


def _read_tables(file: Path) -> dict[str, Any]:
    check_regular_file(file, largest=LARGEST_TEXT)
    try:
        text = file.read_text(encoding="utf-8-sig")
        content = json.loads(text) if file.suffix.lower() == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as reason:
        invalid = "invalid-json" if file.suffix.lower() == ".json" else "invalid-toml"
        code = {OSError: "unreadable-file", UnicodeDecodeError: "not-utf8"}
        kind = next((c for k, c in code.items() if isinstance(reason, k)), invalid)
        raise UserError(f"{file} cannot be read: {reason}.", code=kind) from None
    if not isinstance(content, dict):
        raise UserError(f"{file} holds no tables.", code="invalid-content")
    return content
