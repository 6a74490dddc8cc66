"""Citations of a recipe or run: exactly the works whose methods it uses, and what each is used for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snrlab.config import RunConfig, parse_run
from snrlab.core.recipe import Recipe
from snrlab.core.registries.papers import (
    DORA,
    LORA,
    LORA_PLUS,
    PREDICTIONS,
    ZERO_TERMINAL_SNR,
    Paper,
    paper,
    this_program,
)
from snrlab.core.registries.registry import Choice
from snrlab.core.registries.tensor_registries import OPTIMIZERS
from snrlab.files.text import read_toml
from snrlab.lab.recipe_source import as_recipe, is_source, read_settings
from snrlab.peers.interpretation import interpret
from snrlab.runs.folder import RunFolder

_PROGRAMS = {"kohya": "kohya-ss/sd-scripts", "onetrainer": "Nerogar/OneTrainer"}


def cite(text: str) -> dict[Paper, list[str]]:
    """The works used by a source (a path) or a recipe (a line), with their purposes; snrlab itself comes last.

    Raises:
        UserError: a source or recipe that cannot be read, or a method whose work is not registered.
    """
    uses = _uses_of_source(Path(text)) if is_source(text) else _uses_of_recipe(as_recipe(text)[1])
    purposes: dict[Paper, list[str]] = {}
    for purpose, source in uses:
        work = paper(source)
        if work is not None and purpose not in purposes.setdefault(work, []):
            purposes[work].append(purpose)
    return purposes | {this_program(): ["these tables and findings"]}


def to_bibtex(works: dict[Paper, list[str]]) -> str:
    """A BibTeX file; the purposes of each work stand above its entry, as a comment."""
    return "\n\n".join(f"% {', '.join(purposes)}\n{work.bibtex()}" for work, purposes in works.items())


def _uses_of_recipe(recipe: Recipe) -> Iterator[tuple[str, str]]:
    yield f"schedule {recipe.schedule.name}", recipe.schedule.entry.paper
    if recipe.zero_terminal_snr:
        yield "zero terminal SNR", ZERO_TERMINAL_SNR
    yield f"predicting {recipe.prediction_type}", PREDICTIONS[recipe.prediction_type]
    for choice in recipe.weighting:
        yield from _uses_of_choice(choice)
    for part in (recipe.density, recipe.perturbation, recipe.noise):
        if part is not None:
            yield from _uses_of_choice(part)


def _uses_of_choice(choice: Choice) -> Iterator[tuple[str, str]]:
    """The work of the entry, and that of the weighting that it wraps, if any."""
    yield f"{choice.entry.kind} {choice.name}", choice.entry.paper
    inner = choice.params.get("of")
    if inner is not None:
        from snrlab.core.weights.weighting import WEIGHTINGS

        yield from _uses_of_choice(WEIGHTINGS.parse(inner))


def _uses_of_source(path: Path) -> Iterator[tuple[str, str]]:
    settings = read_settings(path)
    yield from _uses_of_recipe(interpret(settings).as_is)
    if settings.trainer in _PROGRAMS:
        yield "the trainer", _PROGRAMS[settings.trainer]
        yield from _uses_of_optimizer(
            str(settings.options.get("optimizer_type") or settings.options.get("optimizer") or "")
        )
        if any(name.startswith(("network_", "lora_")) for name in settings.options):
            yield "LoRA", LORA
        return
    file = RunFolder(path).config_file if path.is_dir() else path
    if file.suffix == ".toml":
        yield from _uses_of_run(parse_run(read_toml(file), source=file.name))


def _uses_of_optimizer(name: str) -> Iterator[tuple[str, str]]:
    """The work of another trainer's optimizer, if snrlab has it under the same name."""
    plain = name.lower().replace("_", "").replace("adam8bit", "adamw8bit")
    for ours, entry in OPTIMIZERS.items():
        if ours.replace("_", "") == plain:
            yield f"optimizer {ours}", entry.paper


def _uses_of_run(config: RunConfig) -> Iterator[tuple[str, str]]:
    train: Any = config.train
    for choice in (train.optimizer, train.lr_schedule, train.loss):
        yield from _uses_of_choice(choice)
    if train.method == "lora":
        yield "LoRA", LORA
        if config.lora.dora:
            yield "DoRA", DORA
        if config.lora.loraplus_ratio is not None:
            yield "LoRA+", LORA_PLUS
