"""How to install what an extra brings, for a package that may lie in a checkout: snrlab is not on PyPI."""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname


def install_command(extra: str, *, upgrade: bool = False) -> str:
    """The command that adds an extra to the snrlab that is running, by where pip says it came from.

    Args:
        extra: name of an extra of this package, such as `train`.
        upgrade: whether what is installed is to be replaced by newer versions.
    """
    return f"pip install {'--upgrade ' if upgrade else ''}{requirement(extra, _origin())}"


def requirement(extra: str, origin: dict[str, Any]) -> str:
    r"""What pip is to install.

    Args:
        extra: name of an extra.
        origin: content of the installed package's direct_url.json (PEP 610); empty if it has none.

    >>> requirement("train", {})
    '".[train]" (in the folder of snrlab\'s source)'
    >>> requirement("train", {"url": "https://example.org/snrlab.git", "vcs_info": {"vcs": "git"}})
    '"snrlab[train] @ git+https://example.org/snrlab.git"'
    """
    url = str(origin.get("url", ""))
    if "vcs_info" in origin:
        return f'"snrlab[{extra}] @ {origin["vcs_info"]["vcs"]}+{url}"'
    folder = Path(url2pathname(urlsplit(url).path)) if url.startswith("file:") else None
    if folder is not None and (folder / "pyproject.toml").is_file():
        editable = "--editable " if origin.get("dir_info", {}).get("editable") else ""
        return f'{editable}"{folder}[{extra}]"'
    return f'".[{extra}]" (in the folder of snrlab\'s source)'


@cache
def _origin() -> dict[str, Any]:
    try:
        text = distribution("snrlab").read_text("direct_url.json")
        return dict(json.loads(text)) if text else {}
    except (PackageNotFoundError, ValueError):
        return {}
