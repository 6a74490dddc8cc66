"""The works behind a recipe or a run: exactly those whose methods it uses, and what for."""

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
from snrlab.lab.recipe_source import as_recipe, is_source
from snrlab.peers.interpretation import interpret
from snrlab.peers.reading import read_source
from snrlab.runs.folder import RunFolder

_PROGRAMS = {"kohya": "kohya-ss/sd-scripts", "onetrainer": "Nerogar/OneTrainer"}


def cite(text: str) -> dict[Paper, list[str]]:
    """Each work that a source (a path) or a recipe (a line) uses, with what for; snrlab itself comes last.

    Raises:
        UserError: what cannot be read, or a method whose work is not known here.
    """
    used = _of_source(Path(text)) if is_source(text) else _of_recipe(as_recipe(text)[1])
    found: dict[Paper, list[str]] = {}
    for what, source in used:
        work = paper(source)
        if work is not None and what not in found.setdefault(work, []):
            found[work].append(what)
    return found | {this_program(): ["these tables and findings"]}


def to_bibtex(found: dict[Paper, list[str]]) -> str:
    """One file; what each work is used for stands above it, where BibTeX reads nothing."""
    return "\n\n".join(f"% {', '.join(what)}\n{work.bibtex()}" for work, what in found.items())


def _of_recipe(recipe: Recipe) -> Iterator[tuple[str, str]]:
    yield f"schedule {recipe.schedule.name}", recipe.schedule.entry.paper
    if recipe.zero_terminal_snr:
        yield "zero terminal SNR", ZERO_TERMINAL_SNR
    yield f"predicting {recipe.prediction_type}", PREDICTIONS[recipe.prediction_type]
    for choice in recipe.weighting:
        yield from _of_choice(choice)
    for part in (recipe.density, recipe.perturbation, recipe.noise):
        if part is not None:
            yield from _of_choice(part)


def _of_choice(choice: Choice) -> Iterator[tuple[str, str]]:
    """The entry's own work, and that of a weighting which it applies in another place."""
    yield f"{choice.entry.kind} {choice.name}", choice.entry.paper
    inner = choice.params.get("of")
    if inner is not None:
        from snrlab.core.weights.weighting import WEIGHTINGS

        yield from _of_choice(WEIGHTINGS.parse(inner))


def _of_source(path: Path) -> Iterator[tuple[str, str]]:
    asked = read_source(path)
    yield from _of_recipe(interpret(asked).as_is)
    if asked.trainer in _PROGRAMS:
        yield "the trainer", _PROGRAMS[asked.trainer]
        yield from _of_optimizer(str(asked.options.get("optimizer_type") or asked.options.get("optimizer") or ""))
        if any(name.startswith(("network_", "lora_")) for name in asked.options):
            yield "LoRA", LORA
        return
    file = RunFolder(path).config_file if path.is_dir() else path
    if file.suffix == ".toml":
        yield from _of_run(parse_run(read_toml(file), source=file.name))


def _of_optimizer(name: str) -> Iterator[tuple[str, str]]:
    """The optimizer of another trainer, where it is one that we have under the same name."""
    plain = name.lower().replace("_", "").replace("adam8bit", "adamw8bit")
    for ours, entry in OPTIMIZERS.items():
        if ours.replace("_", "") == plain:
            yield f"optimizer {ours}", entry.paper


def _of_run(config: RunConfig) -> Iterator[tuple[str, str]]:
    train: Any = config.train
    for choice in (train.optimizer, train.lr_schedule, train.loss):
        yield from _of_choice(choice)
    if train.method == "lora":
        yield "LoRA", LORA
        if config.lora.dora:
            yield "DoRA", DORA
        if config.lora.loraplus_ratio is not None:
            yield "LoRA+", LORA_PLUS
