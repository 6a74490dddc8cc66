"""A run of ours as settings of another trainer, with what they cannot say."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from snrlab.config.option_tables.kohya import KOHYA_OPTIONS, KOHYA_VERSION
from snrlab.config.option_tables.onetrainer import nested
from snrlab.config.run import RunConfig
from snrlab.config.run_file_text import WIDTH, toml
from snrlab.core.errors import unknown
from snrlab.peers.conversion import Dropped
from snrlab.peers.kohya.data import data_back
from snrlab.peers.kohya.model_output import rest_back
from snrlab.peers.kohya.network import is_sdxl_run, network_back
from snrlab.peers.kohya.recipe import kohya_recipe
from snrlab.peers.kohya.training import train_back
from snrlab.peers.onetrainer.exporter import to_onetrainer
from snrlab.peers.onetrainer.meaning import ONETRAINER_VERSION as ONETRAINER
from snrlab.peers.run_file_writer import tail

_PROGRAMS = {"lora": ("train_network.py", "sdxl_train_network.py"), "full": ("train_db.py", "sdxl_train.py")}
TRAINERS = ("kohya", "onetrainer")
SECTIONS = {"model": ("model.", "seed", "name"), "images": ("data.",), "network": ("lora.",), "recipe": ("recipe.",),
            "training": ("train.",)}  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """Settings of another trainer.

    Attributes:
        options: by its own names; what it would do anyway is there too where ours is another default.
        left: what it cannot say.
        dataset: kohya's dataset TOML; None where images come another way.
        prompts: lines of a file of prompts.
        script: the program that the settings are for.
    """

    trainer: str
    options: Mapping[str, Any]
    left: tuple[Dropped, ...]
    dataset: Mapping[str, Any] | None = None
    prompts: tuple[str, ...] = field(default_factory=tuple)
    script: str = ""


def export_settings(config: RunConfig, trainer: str) -> Exported:
    """The settings of a run for `kohya` or `onetrainer` (UserError for another name)."""
    if trainer == "onetrainer":
        options, left = to_onetrainer(config)
        return Exported(trainer, nested(options), tuple(left), script=ONETRAINER)
    if trainer != "kohya":
        raise unknown("--to", trainer, TRAINERS)
    images, dataset, gone = data_back(config)
    groups = (rest_back(config), network_back(config), train_back(config), kohya_recipe(config), (images, gone))
    stated = {name: value for found, _ in groups for name, value in found.items()}
    lost = tuple(item for _, found in groups for item in found)
    options = {name: value for name, value in stated.items() if value is not None and value != []}
    return Exported(
        trainer, options, lost, dataset, tuple(config.sample.prompts), f"{_script(config)} of {KOHYA_VERSION}"
    )


def _script(config: RunConfig) -> str:
    """Kohya's program for a run; which of two the model decides, where the run does not tell."""
    plain, xl = _PROGRAMS[config.train.method]
    return xl if is_sdxl_run(config) else f"{plain} (for SDXL {xl})"


def onetrainer_json(exported: Exported) -> str:
    """OneTrainer's file."""
    return json.dumps(exported.options, indent=4) + "\n"


def to_toml(exported: Exported, head: Sequence[str]) -> str:
    """Kohya's training TOML; kohya reads over the names of sections, and so they can help a reader."""
    lines = [textwrap.fill(line, WIDTH, initial_indent="# ", subsequent_indent="# ") for line in head]
    rest = dict(exported.options)
    for section, beginnings in SECTIONS.items():
        own = {name: rest.pop(name) for name in list(rest) if KOHYA_OPTIONS[name].field.startswith(beginnings)}
        lines += _section(section, own)
    lines += _section("output", rest)
    return "\n".join([*lines, *tail(exported.left, "# ")]) + "\n"


def _section(name: str, options: Mapping[str, Any]) -> list[str]:
    return ["", f"[{name}]", *(f"{key} = {toml(_plain(value))}" for key, value in options.items())] if options else []


def dataset_toml(dataset: Mapping[str, Any]) -> str:
    """Kohya's dataset TOML."""
    lines: list[str] = []
    for group in dataset["datasets"]:
        lines += ["[[datasets]]", *(f"{k} = {toml(_plain(v))}" for k, v in group.items() if k != "subsets"), ""]
        for subset in group["subsets"]:
            lines += ["  [[datasets.subsets]]", *(f"  {k} = {toml(_plain(v))}" for k, v in subset.items()), ""]
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
