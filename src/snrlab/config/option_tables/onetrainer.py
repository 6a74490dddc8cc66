"""Fields of OneTrainer's configuration: the one table of them, `onetrainer.csv`, as `kohya` has it.

Fields of a part of the configuration are written `unet.train`. Read in the program's sources at commit 23df383.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from importlib import resources
from typing import Any

from snrlab.config.option_tables.kohya import Option

_PARTS = ("unet", "text_encoder", "text_encoder_2", "vae", "optimizer")


def _load() -> dict[str, Option]:
    text = resources.files("snrlab.config.option_tables").joinpath("onetrainer.csv").read_text(encoding="utf-8")
    return {row["name"]: Option(part="run", **row) for row in csv.DictReader(text.splitlines())}


ONETRAINER_FIELDS: Mapping[str, Option] = _load()


def flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with those of parts under `part.field`.

    >>> flat({"epochs": 3, "unet": {"train": True}})
    {'epochs': 3, 'unet.train': True}
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name in _PARTS and isinstance(value, dict):
            found |= {f"{name}.{inner}": item for inner, item in value.items()}
        else:
            found[name] = value
    return found


def nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """The way back.

    >>> nested({"epochs": 3, "unet.train": True})
    {'epochs': 3, 'unet': {'train': True}}
    """
    found: dict[str, Any] = {}
    for name, value in options.items():
        part, dot, inner = name.partition(".")
        if dot:
            found.setdefault(part, {})[inner] = value
        else:
            found[name] = value
    return found
