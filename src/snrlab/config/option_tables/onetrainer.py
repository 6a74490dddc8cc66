"""Table of the fields of OneTrainer's configuration (`onetrainer.csv`), with the columns of `kohya`'s.

Fields in a part of the configuration are written `unet.train`. Read in the program's sources at commit 23df383.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from importlib import resources
from typing import Any

from snrlab.config.option_tables.kohya import Option

_PARTS = ("unet", "text_encoder", "text_encoder_2", "vae", "optimizer")


def _load_fields() -> dict[str, Option]:
    text = resources.files("snrlab.config.option_tables").joinpath("onetrainer.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return {row["name"]: Option(part="run", **row) for row in rows}  # type: ignore[arg-type]  # its columns are the fields


ONETRAINER_FIELDS: Mapping[str, Option] = _load_fields()


def flatten_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a configuration: fields of parts become `part.field`.

    >>> flatten_options({"epochs": 3, "unet": {"train": True}})
    {'epochs': 3, 'unet.train': True}
    """
    fields: dict[str, Any] = {}
    for name, value in options.items():
        if name in _PARTS and isinstance(value, dict):
            fields |= {f"{name}.{inner}": item for inner, item in value.items()}
        else:
            fields[name] = value
    return fields


def nest_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Nest flattened fields again, the inverse of `flatten_options`.

    >>> nest_options({"epochs": 3, "unet.train": True})
    {'epochs': 3, 'unet': {'train': True}}
    """
    tables: dict[str, Any] = {}
    for name, value in options.items():
        part, dot, inner = name.partition(".")
        if dot:
            tables.setdefault(part, {})[inner] = value
        else:
            tables[name] = value
    return tables
