"""Recipes as commands name them: a line such as `min_snr:gamma=5`, a settings file of any trainer, or a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snrlab.core.errors import UnknownNameError, UserError
from snrlab.core.recipe import Recipe
from snrlab.files.text import read_toml
from snrlab.lab.recipe_text import parse_recipe
from snrlab.lab.tables import describe
from snrlab.peers.interpretation import interpret
from snrlab.peers.reading import read_source
from snrlab.peers.settings import Settings
from snrlab.runs.folder import RunFolder

_SUFFIXES = (".toml", ".json", ".safetensors")
_RATES = ("unet_lr", "learning_rate")  # in the order in which they decide about the UNet


@dataclass(frozen=True)
class NamedRecipe:
    """A recipe that somebody named.

    Attributes:
        label: what it goes by.
        description: what it is, in words.
        learning_rate: that its source states for the UNet, or None.
        assumption: what had to be assumed to complete it, in a sentence; empty where nothing was.
    """

    label: str
    description: str
    recipe: Recipe
    learning_rate: float | None = None
    assumption: str = ""


def read_recipes(text: str, *, with_meant: bool = False) -> list[NamedRecipe]:
    """The recipe of a path or a line, either after `Label = `.

    A trainer's file stands for what that trainer really computes; `with_meant`, what was meant follows where that
    differs.

    Raises:
        UserError: neither a recipe nor a file that can be read.
    """
    label, is_labelled, rest = text.partition(" = ")
    source = (rest if is_labelled else text).strip()
    if not is_source(source):
        name, recipe = as_recipe(text)
        return [NamedRecipe(name, describe(recipe), recipe)]
    path = Path(source)
    settings = read_source(path)
    understood = interpret(settings)
    name = label.strip() if is_labelled else settings.source
    rate = _learning_rate(settings, path)
    computed, meant = understood.as_is, understood.as_meant
    about = f"{settings.kind}: {describe(computed)}"
    recipes = [NamedRecipe(name, about, computed, rate, settings.assumption)]
    if with_meant and understood.changes:
        about = f"what was probably meant: {describe(meant)}"
        recipes.append(NamedRecipe(f"{name}, as meant", about, meant, rate, settings.assumption))
    return recipes


def is_source(text: str) -> bool:
    r"""Whether words are a path: something there, the ending of a known file, or what no recipe has.

    A recipe has a dot or a separator only in a parameter, so behind a colon or an equals sign.

    >>> [is_source(text) for text in ("runs/nothing", "lora.safetensors", "./x", "run.tml", r"C:\a")]
    [True, True, True, True, True]
    >>> [is_source(text) for text in ("min_snr", "min_snr:gamma=0.5 p2", "curve:points=-5/0.2;0/1")]
    [False, False, False]
    """
    path = Path(text)
    try:
        there = path.exists()
    except OSError:  # too long for a name
        there = False
    on_a_drive = re.match(r"[A-Za-z]:[\\/]", text) is not None
    return there or path.suffix.lower() in _SUFFIXES or on_a_drive or bool(re.fullmatch(r"[^:=]*[./\\][^:=]*", text))


def as_recipe(text: str) -> tuple[str, Recipe]:
    """(label, recipe) of a line; a lone word that is like nothing known may have been meant as a file (UserError)."""
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
