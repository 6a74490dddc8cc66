"""What is kept of a bug, for whoever mends it: versions, the traceback, the run file, and no folder of this machine."""

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


def as_bug(reason: Exception, config: RunConfig, folder: Path) -> BugError:
    """The error to raise for one that is ours, with what is known about it written into the run's folder."""
    text = report(reason, config)
    place = folder if folder.is_dir() else Path()
    number = 1
    while (file := place / f"bug-{number}.txt").exists():
        number += 1
    what = f"{type(reason).__name__}: {first_line(reason, 'nothing said')}"
    try:
        file.write_text(text, encoding="utf-8")
    except OSError:
        return BugError(f"a bug in snrlab, not a mistake of yours: {what}. Run with --debug to see where.")
    return BugError(
        f"a bug in snrlab, not a mistake of yours: {what}. {file} says what is needed to mend it; it holds no names of "
        "your folders."
    )


def report(reason: Exception, config: RunConfig) -> str:
    """The text of a bug's file."""
    lines = "".join(traceback.format_exception(reason))
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
