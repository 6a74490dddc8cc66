"""The run folder: where a run's files are, and when a folder may be used.

run.toml  steps.jsonl  validation.jsonl  samples/  checkpoints/  <name>.safetensors or <name>/  report.html
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from snrlab.config import RunConfig, dump, parse
from snrlab.core.errors import UserError
from snrlab.models.safetensors_file import write_atomically


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.path / "run.toml"

    @property
    def steps_file(self) -> Path:
        """One JSON object a step."""
        return self.path / "steps.jsonl"

    @property
    def validation_file(self) -> Path:
        """One JSON object a validation."""
        return self.path / "validation.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Resumable state."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """Sample grids."""
        return self.path / "samples"

    @property
    def logs(self) -> Path:
        """What trackers keep of the run, where it has any."""
        return self.path / "logs"

    @property
    def comparison_file(self) -> Path:
        """Pictures with and without the LoRA beside the true ones, where they were drawn."""
        return self.path / "comparison.png"

    @property
    def evaluation_file(self) -> Path:
        """What was measured in them."""
        return self.path / "evaluation.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    def on_the_way(self, config: RunConfig, step: int) -> Path:
        """The result saved after `step` steps."""
        final = self.result(config)
        return final.with_name(f"{config.name}-step{step:08d}{final.name.removeprefix(config.name)}")

    def steps_on_the_way(self, config: RunConfig) -> list[int]:
        """Steps whose results are there, in order."""
        ending = self.result(config).name.removeprefix(config.name)
        found = self.path.glob(f"{config.name}-step{'[0-9]' * 8}{ending}")
        return sorted(int(file.name.removesuffix(ending)[-8:]) for file in found)

    def result(self, config: RunConfig) -> Path:
        """The finished LoRA or model: a file, or a folder."""
        return self.path / (f"{config.name}.safetensors" if config.single_file else config.name)

    @property
    def started(self) -> bool:
        """Whether a run has been here."""
        return self.config_file.is_file()

    def read_config(self) -> RunConfig:
        """The configuration of the run that is here."""
        try:
            return parse(tomllib.loads(self.config_file.read_text(encoding="utf-8")), source=str(self.config_file))
        except (OSError, ValueError) as reason:
            if isinstance(reason, UserError):
                raise
            raise UserError(f"{self.config_file} cannot be read ({reason}).") from None

    @property
    def finished(self) -> bool:
        """Whether the run that is here has written its result."""
        return self.started and self.result(self.read_config()).exists()


def choose(out: Path, config: RunConfig, *, resume: bool) -> tuple[RunFolder, RunConfig]:
    """The folder a run goes into, and its config with the name of that folder.

    A finished run is never overwritten: the new one becomes `name-2`, `name-3`, ... With `resume`
    the newest folder of that name is gone on with.

    Raises:
        UserError: an unfinished run is there and `resume` is not given, or the folder is in use
            for something else, or nothing can be written there.
    """
    _refuse_unwritable(out)
    taken = [folder for folder in _numbered(out, config.name) if folder.path.exists()]
    if resume and taken:
        last = taken[-1]
        return last, config.model_copy(update={"name": last.path.name})
    for folder in taken:
        if not folder.started and any(folder.path.iterdir()):
            raise UserError(f"{folder.path} exists and is not a run; choose another name or --out.")
        if folder.started and not folder.finished:
            raise UserError(f"{folder.path} holds an unfinished run: --resume goes on with it; or choose another name.")
    number = len(taken) + 1
    name = config.name if number == 1 else f"{config.name}-{number}"
    return RunFolder(out / name), config.model_copy(update={"name": name})


def start(folder: RunFolder, config: RunConfig) -> None:
    """Create the folder and write its run.toml, or check that the one there is of the same run.

    Raises:
        UserError: it cannot be written, or it holds a run with another configuration.
    """
    if folder.started:
        different = _differences(folder.read_config().model_dump(), config.model_dump())
        if different:
            raise UserError(
                f"{folder.path} was started with another configuration:\n  " + "\n  ".join(different) + "\n"
                "Resume with the old one, or choose another name."
            )
        return
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        write_atomically(folder.config_file, dump(config).encode())
    except OSError as reason:
        raise UserError(f"{folder.path} cannot be written ({reason.strerror}). Choose another --out.") from None


def open_log(path: Path, done: int) -> IO[str]:
    """The step log for appending, cut back to its first `done` lines."""
    if path.exists():
        with path.open("rb+") as file:
            for _ in range(done):
                file.readline()
            file.truncate()
    return path.open("a", encoding="utf-8", newline="\n", buffering=1)  # a line a step, for who reads along


def open_validation(path: Path, done: int) -> IO[str]:
    """The validation log for appending, cut back to what was measured up to step `done`; 0 starts it anew."""
    if path.exists():
        kept = [line for line in read_log(path) if done and line["step"] <= done]
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
    return path.open("a", encoding="utf-8", newline="\n", buffering=1)


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a step log; a last line that was cut off is left out."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def _refuse_unwritable(out: Path) -> None:
    """Find out before minutes of loading, not after."""
    nearest = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"{out} cannot be written: {nearest} is not a folder you may write to. Choose another --out.")


def _numbered(out: Path, name: str) -> list[RunFolder]:
    folders = [RunFolder(out / name)]
    while folders[-1].path.exists():
        folders.append(RunFolder(out / f"{name}-{len(folders) + 1}"))
    return folders


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(key), dict) and "name" not in value:
            found += _differences(old[key], value, f"{prefix}{key}.")
        elif old.get(key) != value:
            found.append(f"{prefix}{key}: {old.get(key)!r} there, {value!r} here")
    return found
