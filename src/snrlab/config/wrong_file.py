"""Errors for files that are not run files: they name the kind of file and what to do with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snrlab.config.option_tables.kohya import KOHYA_OPTIONS
from snrlab.core.errors import UserError

KOHYA_ONLY_OPTIONS = {"pretrained_model_name_or_path", "network_module", "train_data_dir", "output_name"}
WEIGHT_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
INIT_COMMAND = "snrlab init IMAGES --model MODEL --preset style-lora -o run.toml"


def refuse_other_kind(path: Path) -> None:
    """Refuse a path that by its kind cannot be a run file, such as a folder or weights (UserError)."""
    if path.is_dir():
        if (path / "run.toml").is_file():
            raise UserError(f"{path} is a run folder; its run file is {path / 'run.toml'}.", code="not-a-file")
        raise UserError(
            f"{path} is a folder, and the run file cannot be read from it. To get one: {INIT_COMMAND}",
            code="not-a-file",
        )
    if path.suffix.lower() in WEIGHT_SUFFIXES:
        raise UserError(
            f"{path} holds weights; a run file is TOML. To get one: {INIT_COMMAND}\n"
            f"or, with the settings that it was trained with: snrlab import {shell_quoted(path)} -o run.toml",
            code="wrong-file",
        )
    if path.suffix.lower() in (".json", ".yaml", ".yml"):
        raise UserError(
            f"{path} is {path.suffix[1:].upper()}; a run file is TOML. If these are settings of another trainer: "
            f"snrlab import {shell_quoted(path)} -o run.toml\nTo begin anew: {INIT_COMMAND}",
            code="wrong-file",
        )


def refuse_foreign(data: dict[str, Any], path: Path) -> None:
    """Refuse another trainer's TOML, with the command that makes a run file of it (UserError)."""
    if isinstance(data.get("datasets"), list):
        raise UserError(
            f"{path} is a dataset file of kohya's trainer. It is used as it is: in a run file of snrlab write\n"
            f"  [data]\n  dataset_config = '{path}'\nTo get a run file: {INIT_COMMAND}",
            code="foreign-settings",
        )
    options = list(_leaves(data))
    known = [(name, value) for name, value in options if name in KOHYA_OPTIONS]
    if not KOHYA_ONLY_OPTIONS & {name for name, _ in options} or 2 * len(known) < len(options):
        return
    raise UserError(
        f"{path} has settings of kohya's trainer. To make a run file of them:\n"
        f"  snrlab import {shell_quoted(path)} -o run.toml",
        code="foreign-settings",
    )


def shell_quoted(path: Path) -> str:
    """A path quoted for the shell.

    >>> shell_quoted(Path("run.toml")), shell_quoted(Path("my run.toml"))
    ('run.toml', '"my run.toml"')
    """
    return f'"{path}"' if " " in str(path) else str(path)


def _leaves(data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(name, value) of all options without their sections, whose names kohya ignores."""
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _leaves(value)
        else:
            yield name, value
