"""Recipes as arguments of commands: a line such as `min_snr:gamma=5`, a trainer's settings file, or a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snrlab.core.errors import UnknownNameError, UserError
from snrlab.core.recipe import Recipe
from snrlab.files.text import read_toml
from snrlab.lab.recipe_text import parse_recipe, spellings
from snrlab.lab.tables import describe
from snrlab.model_files.header import PICKLES
from snrlab.peers.interpretation import interpret
from snrlab.peers.settings import Settings
from snrlab.peers.settings_reader import read_source
from snrlab.runs.folder import RunFolder

_SUFFIXES = (".toml", ".json", ".safetensors")
_RATES = ("unet_lr", "learning_rate")  # the first one that is given holds for the UNet


@dataclass(frozen=True)
class NamedRecipe:
    """A recipe with its label and origin.

    Attributes:
        label: its name in tables and graphs.
        description: the recipe in a line.
        learning_rate: the UNet's learning rate in its source, or None.
        assumption: sentences on what was assumed to complete the recipe, and on names that were written otherwise.
    """

    label: str
    description: str
    recipe: Recipe
    learning_rate: float | None = None
    assumption: str = ""


def read_recipes(text: str, *, with_meant: bool = False) -> list[NamedRecipe]:
    """Read the recipe of a path or a line, each with or without `Label = ` before it.

    A trainer's file stands for what that trainer really computes; with `with_meant`, what was probably meant follows
    if it differs.

    Raises:
        UserError: neither a recipe nor a readable file.
    """
    label, is_labelled, rest = text.partition(" = ")
    source = (rest if is_labelled else text).strip()
    if not is_source(source):
        return [read_line(text)]
    path = Path(source)
    settings = read_settings(path)
    interpretation = interpret(settings)
    name = label.strip() if is_labelled else settings.source
    rate = _learning_rate(settings, path)
    computed, meant = interpretation.as_is, interpretation.as_meant
    description = f"{settings.kind}: {describe(computed)}"
    recipes = [NamedRecipe(name, description, computed, rate, settings.assumption)]
    if with_meant and interpretation.changes:
        description = f"what was probably meant: {describe(meant)}"
        recipes.append(NamedRecipe(f"{name}, as meant", description, meant, rate, settings.assumption))
    return recipes


def read_settings(path: Path) -> Settings:
    """The settings of a file or run folder (UserError, also for a file whose ending no settings have)."""
    if path.is_file() and path.suffix and path.suffix.lower() not in (*_SUFFIXES, *PICKLES):
        raise UserError(
            f"{path.name} is not a settings file. Name a training TOML or JSON, a .safetensors, or a run folder.",
            code="wrong-file",
        )
    return read_source(path)


def read_line(text: str) -> NamedRecipe:
    """The recipe of a line, which is no path (UserError)."""
    label, recipe = as_recipe(text)
    return NamedRecipe(label, describe(recipe), recipe, assumption=spelling_note(text))


def spelling_note(text: str) -> str:
    """The sentence that gives the full names of a line's other spellings; empty if it has none.

    >>> spelling_note("v minsnr"), spelling_note("min_snr")
    ('Names in full: v is v_prediction, minsnr is min_snr.', '')
    """
    pairs = spellings(text)
    return f"Names in full: {', '.join(f'{name} is {full}' for name, full in pairs.items())}." if pairs else ""


def is_source(text: str) -> bool:
    r"""Whether a text is a path: it exists, ends like a known file, or has characters that no recipe has.

    A recipe has dots and path separators only within parameters, after a colon or an equals sign.

    >>> [is_source(text) for text in ("runs/nothing", "lora.safetensors", "./x", "run.tml", r"C:\a")]
    [True, True, True, True, True]
    >>> [is_source(text) for text in ("min_snr", "min_snr:gamma=0.5 p2", "curve:points=-5/0.2;0/1")]
    [False, False, False]
    """
    path = Path(text)
    try:
        exists = path.exists()
    except OSError:  # too long for a name
        exists = False
    on_a_drive = re.match(r"[A-Za-z]:[\\/]", text) is not None
    return exists or path.suffix.lower() in _SUFFIXES or on_a_drive or bool(re.fullmatch(r"[^:=]*[./\\][^:=]*", text))


def as_recipe(text: str) -> tuple[str, Recipe]:
    """(label, recipe) of a line; the error about an unknown lone word says that it is no file either (UserError)."""
    try:
        return parse_recipe(text)
    except UnknownNameError as reason:
        if re.fullmatch(r"[\w-]+", text) and reason.guess is None:
            raise UserError(
                f"there is no file or run {text}, and it is no recipe. {reason}", code=reason.code
            ) from None
        raise


def _learning_rate(settings: Settings, path: Path) -> float | None:
    options: Any = settings.options
    if settings.trainer == "snrlab":
        file = RunFolder(path).config_file if path.is_dir() else path
        options = read_toml(file).get("train", {}) if file.suffix == ".toml" else {}
    for name in _RATES:
        value = options.get(name) if isinstance(options, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return float(value)
    return None
