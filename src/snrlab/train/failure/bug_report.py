"""Bug report: versions, traceback and run file, with the paths of this machine removed."""

from __future__ import annotations

import platform
import sys
import traceback
from importlib import metadata
from pathlib import Path

from snrlab import __version__
from snrlab.config import RunConfig, dump
from snrlab.config.redact import cut_paths, without_paths
from snrlab.core.errors import BugError, first_line

PACKAGES = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "numpy", "pillow")


def bug_error(error: Exception, config: RunConfig, folder: Path) -> BugError:
    """Write a bug report into the run folder, or the current one if there is none; the error to raise for it."""
    text = report(error, config)
    directory = folder if folder.is_dir() else Path()
    number = 1
    while (file := directory / f"bug-{number}.txt").exists():
        number += 1
    summary = f"{type(error).__name__}: {first_line(error, 'no message')}"
    try:
        file.write_text(text, encoding="utf-8")
    except OSError:
        return BugError(f"a bug in snrlab, not a mistake of yours: {summary}. Run with --debug to see where.")
    return BugError(
        f"a bug in snrlab, not a mistake of yours: {summary}. {file} has what is needed to fix it, and no "
        "names of your folders."
    )


def report(error: Exception, config: RunConfig) -> str:
    """The text of a bug report."""
    lines = "".join(traceback.format_exception(error))
    versions = [f"{name} {_version(name)}" for name in PACKAGES]
    head = f"snrlab {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    parts = [head, ", ".join(versions), _device(), "", cut_paths(lines, config), dump(without_paths(config))]
    return "\n".join(parts)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def _device() -> str:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return "no graphics card"
    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
