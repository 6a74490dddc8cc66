"""Asset files of the lab, as text: style sheets, scripts and the shipped profile."""

from __future__ import annotations

from importlib import resources


def read_asset(name: str) -> str:
    """The content of a file of `snrlab/lab/assets`."""
    return resources.files("snrlab.lab").joinpath("assets", name).read_text(encoding="utf-8")
