"""Files that are no run file of ours: what they are, and what to do with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snrlab.config.option_tables.kohya import KOHYA_OPTIONS, SECRETS
from snrlab.core.errors import UserError

SURE = {"pretrained_model_name_or_path", "network_module", "train_data_dir", "output_name"}
_SHOWN = 60
WEIGHTS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
START = "snrlab init IMAGES --model MODEL --preset style-lora -o run.toml"


def refuse_other_kind(path: Path) -> None:
    """Say what a path is that cannot be a run file (UserError)."""
    if path.is_dir():
        if (path / "run.toml").is_file():
            raise UserError(f"{path} is a run folder; its run file is {path / 'run.toml'}.", code="not-a-file")
        raise UserError(
            f"{path} is a folder, and the run file cannot be read from it. To get one: {START}", code="not-a-file"
        )
    if path.suffix.lower() in WEIGHTS:
        raise UserError(
            f"{path} holds weights; a run file is TOML. To get one: {START}\n"
            f"or, with the settings that it was trained with: snrlab import {quoted(path)} -o run.toml",
            code="wrong-file",
        )
    if path.suffix.lower() in (".json", ".yaml", ".yml"):
        raise UserError(
            f"{path} is {path.suffix[1:].upper()}; a run file is TOML. If these are settings of another trainer: "
            f"snrlab import {quoted(path)} -o run.toml\nTo begin anew: {START}",
            code="wrong-file",
        )


def refuse_foreign(data: dict[str, Any], path: Path) -> None:
    """Say that a TOML is another trainer's, and what its options are called here (UserError)."""
    if isinstance(data.get("datasets"), list):
        raise UserError(
            f"{path} is a dataset file of kohya's trainer. It is used as it is: in a run file of snrlab write\n"
            f"  [data]\n  dataset_config = '{path}'\nTo get a run file: {START}",
            code="foreign-settings",
        )
    options = list(_leaves(data))
    known = [(name, value) for name, value in options if name in KOHYA_OPTIONS]
    if not SURE & {name for name, _ in options} or 2 * len(known) < len(options):
        return
    shown = [(name, "(not shown)" if name in SECRETS else _short(value)) for name, value in known[:_SHOWN]]
    lines = [f"  {name} = {value}  ->  {KOHYA_OPTIONS[name].here}" for name, value in shown]
    rest = sorted({name for name, _ in options} - KOHYA_OPTIONS.keys())
    lines += [f"  not known: {', '.join(rest)}"] if rest else []
    raise UserError(
        f"{path} is a run file of kohya's trainer. To make a run file of it:\n"
        f"  snrlab import {quoted(path)} -o run.toml\n"
        f"What it says, and what that is called here (to begin anew: {START}):\n" + "\n".join(lines),
        code="foreign-settings",
    )


def quoted(path: Path) -> str:
    """A path as it is typed in a shell.

    >>> quoted(Path("run.toml")), quoted(Path("my run.toml"))
    ('run.toml', '"my run.toml"')
    """
    return f'"{path}"' if " " in str(path) else str(path)


def _leaves(data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Options by their last name: kohya ignores the names of sections."""
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _leaves(value)
        else:
            yield name, value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
