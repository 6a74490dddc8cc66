"""What is kept of a bug, for whoever mends it: versions, the traceback, the run file, and no folder of this machine."""

from __future__ import annotations

import platform
import re
import sys
import traceback
from importlib import metadata
from pathlib import Path, PurePosixPath, PureWindowsPath

from snrlab import __version__
from snrlab.config import RunConfig, dump
from snrlab.config.redact import shareable
from snrlab.core.errors import BugError, first_line

PACKAGES = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "numpy", "pillow")
KEPT = ("site-packages", "dist-packages", "lib", "src")  # a path is shown from what follows the last of these
_PATH = re.compile(r"""(?<![\w.:/\\])(?:[A-Za-z]:[\\/]|/)[^\s'"<>|*?,;:)\]]*[^\s'"<>|*?,;:)\].]""")


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
    parts = [head, ", ".join(versions), _device(), "", without_folders(lines, config), dump(shareable(config))]
    return "\n".join(parts)


def without_folders(text: str, config: RunConfig) -> str:
    """The text with each absolute path cut to what is the same on every machine.

    Folders that the run names may have spaces in them; they are replaced whole.
    """
    known = [config.model.path, config.model.vae, config.data.folder, config.data.cache_folder, str(Path.home())]
    for path in sorted({path for path in (*known, str(Path.cwd())) if path and len(path) > 1}, key=len, reverse=True):
        text = text.replace(path, f"/{Path(path).name}")
    return _PATH.sub(lambda found: _cut(found[0]), text)


def _cut(path: str) -> str:
    """A path from its last well-known folder on, or its last name.

    >>> _cut("/home/me/env/lib/python3.12/site-packages/torch/nn/modules.py"), _cut("C:/Users/me/a.png")
    ('torch/nn/modules.py', 'a.png')
    """
    kind = PureWindowsPath if re.match(r"[A-Za-z]:", path) else PurePosixPath
    names = kind(path).parts
    places = [place for place, name in enumerate(names[:-1]) if name in KEPT]
    return "/".join(names[places[-1] + 1 :]) if places and path.endswith(".py") else names[-1]


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
