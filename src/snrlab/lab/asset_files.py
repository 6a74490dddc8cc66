"""Asset files of the lab, style sheets, scripts, the shipped profile, a picture."""

from __future__ import annotations

from importlib import resources


def read_asset(name: str) -> str:
    """The content of a file of `snrlab/lab/assets`."""
    return resources.files("snrlab.lab").joinpath("assets", name).read_text(encoding="utf-8")


def read_binary_asset(name: str) -> bytes:
    """The bytes of a file of `snrlab/lab/assets`."""
    return resources.files("snrlab.lab").joinpath("assets", name).read_bytes()
