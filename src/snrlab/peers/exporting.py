"""Export of a run file to another trainer: its settings, and the fields that they cannot express."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from snrlab.config.option_tables.kohya import KOHYA_OPTIONS, KOHYA_VERSION
from snrlab.config.option_tables.onetrainer import nest_options
from snrlab.config.run import RunConfig
from snrlab.config.run_file_text import LINE_WIDTH, format_toml
from snrlab.core.errors import unknown
from snrlab.peers.conversion import Dropped
from snrlab.peers.kohya.dataset_options import data_back
from snrlab.peers.kohya.model_options import export_model_output, export_prompts
from snrlab.peers.kohya.network_options import export_network, is_sdxl_run
from snrlab.peers.kohya.recipe import kohya_recipe
from snrlab.peers.kohya.training_options import export_training
from snrlab.peers.onetrainer.from_run_file import to_onetrainer
from snrlab.peers.onetrainer.interpretation import ONETRAINER_VERSION as ONETRAINER
from snrlab.peers.run_file_writer import format_dropped

_PROGRAMS = {"lora": ("train_network.py", "sdxl_train_network.py"), "full": ("train_db.py", "sdxl_train.py")}
TRAINERS = ("kohya", "onetrainer")
SECTIONS = {"model": ("model.", "seed", "name"), "images": ("data.",), "network": ("lora.",), "recipe": ("recipe.",),
            "training": ("train.",)}  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """Settings of another trainer.

    Attributes:
        trainer: `kohya` or `onetrainer`.
        options: options by the trainer's names; its defaults are written too where ours differ.
        dropped: fields that it cannot express.
        dataset: content of kohya's dataset TOML; None where images come another way.
        prompts: lines of a prompts file.
        script: name and version of the program that reads the settings.
    """

    trainer: str
    options: Mapping[str, Any]
    dropped: tuple[Dropped, ...]
    dataset: Mapping[str, Any] | None = None
    prompts: tuple[str, ...] = field(default_factory=tuple)
    script: str = ""


def export_settings(config: RunConfig, trainer: str) -> Exported:
    """Export a run to the settings of `kohya` or `onetrainer` (UserError for another name)."""
    if trainer == "onetrainer":
        options, dropped = to_onetrainer(config)
        return Exported(trainer, nest_options(options), tuple(dropped), script=ONETRAINER)
    if trainer != "kohya":
        raise unknown("--to", trainer, TRAINERS)
    images, dataset, data_dropped = data_back(config)
    groups = (
        export_model_output(config),
        export_network(config),
        export_training(config),
        kohya_recipe(config),
        (images, data_dropped),
    )
    values = {name: value for group, _ in groups for name, value in group.items()}
    prompts, samplers_dropped = export_prompts(config)
    dropped = [item for _, group_dropped in groups for item in group_dropped] + samplers_dropped
    options = {name: value for name, value in values.items() if value is not None and value != []}
    return Exported(trainer, options, tuple(dropped), dataset, prompts, f"{_script(config)} of {KOHYA_VERSION}")


def _script(config: RunConfig) -> str:
    """Name of kohya's script for a run; both scripts where the run file does not say whether the model is SDXL."""
    plain, xl = _PROGRAMS[config.train.method]
    return xl if is_sdxl_run(config) else f"{plain} (for SDXL {xl})"


def onetrainer_json(exported: Exported) -> str:
    """Text of OneTrainer's configuration."""
    return json.dumps(exported.options, indent=4) + "\n"


def to_toml(exported: Exported, head: Sequence[str]) -> str:
    """Text of kohya's training TOML; kohya ignores the names of its sections, so they are chosen for the reader."""
    lines = [textwrap.fill(line, LINE_WIDTH, initial_indent="# ", subsequent_indent="# ") for line in head]
    remaining = dict(exported.options)
    for section, beginnings in SECTIONS.items():
        section_options = {
            name: remaining.pop(name) for name in list(remaining) if KOHYA_OPTIONS[name].field.startswith(beginnings)
        }
        lines += _section(section, section_options)
    lines += _section("output", remaining)
    return "\n".join([*lines, *format_dropped(exported.dropped, "# ")]) + "\n"


def _section(name: str, options: Mapping[str, Any]) -> list[str]:
    return (
        ["", f"[{name}]", *(f"{key} = {format_toml(_plain(value))}" for key, value in options.items())]
        if options
        else []
    )


def dataset_toml(dataset: Mapping[str, Any]) -> str:
    """Text of kohya's dataset TOML."""
    lines: list[str] = []
    for group in dataset["datasets"]:
        lines += ["[[datasets]]", *(f"{k} = {format_toml(_plain(v))}" for k, v in group.items() if k != "subsets"), ""]
        for subset in group["subsets"]:
            lines += ["  [[datasets.subsets]]", *(f"  {k} = {format_toml(_plain(v))}" for k, v in subset.items()), ""]
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
