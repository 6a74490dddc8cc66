"""Settings of a source, and their interpretation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from snrlab.core.findings.finding import Finding
from snrlab.core.recipe import Recipe


@dataclass(frozen=True)
class Settings:
    """Settings as a source states them, before they are interpreted.

    Attributes:
        source: name of the file or folder.
        kind: kind of the source, in words.
        trainer: program that the settings are for: `kohya`, `onetrainer` or `snrlab`.
        options: options by the trainer's own names.
        recipe_options: names of the options that make up the recipe, or that are unknown.
        at_default: names among these whose value is the trainer's default.
        assumption: sentence on what was assumed to complete the recipe; empty where nothing was.
        findings: findings from reading the source.
        recipe: recipe of a run of snrlab, which needs no interpretation.
        extras: entries of the file that are no options of the trainer, such as those of a GUI.
        subsets: image folders that the file itself lists, in the form of a kohya dataset TOML.
        finished: whether the settings come from a finished model, which records only a part of them.
    """

    source: str
    kind: str
    trainer: str
    options: Mapping[str, Any]
    recipe_options: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    recipe: Recipe | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    subsets: tuple[Mapping[str, Any], ...] = ()
    finished: bool = False
    at_default: tuple[str, ...] = ()
    assumption: str = ""


def other_loss(loss: str) -> Finding:
    """Finding on settings whose loss is not the squared error."""
    message = (
        f"the loss is not the plain squared error ({loss}); shares of loss and gradient are those of the squared error."
    )
    return Finding("other_loss", "info", message)


@dataclass(frozen=True)
class RecipeChange:
    """One difference between the recipe as meant and the recipe as it is.

    Attributes:
        field: field of the recipe that changes.
        text: the change, in words that can follow a colon.
        starts_with_name: whether the text begins with a name, which keeps its small letter at the start of a sentence.
    """

    field: str
    text: str
    starts_with_name: bool = False

    @property
    def sentence(self) -> str:
        """The text as a sentence.

        >>> RecipeChange("weighting", "the product on epsilon").sentence
        'The product on epsilon.'
        >>> RecipeChange("density", "max_timestep 9", starts_with_name=True).sentence
        'max_timestep 9.'
        """
        return f"{self.text if self.starts_with_name else self.text[:1].upper() + self.text[1:]}."


@dataclass(frozen=True)
class Interpretation:
    """Meaning of settings: the recipe that the trainer follows, and the one that was meant.

    Attributes:
        settings: the settings that were interpreted.
        effects: sentences on what the trainer computes, one for each setting.
        as_is: recipe that the trainer really follows.
        as_meant: recipe that does what the settings say, with the right formulas.
        findings: findings, worst first.
        changes: what `as_meant` does differently; empty where nothing has to change.
        version: program and version whose sources were read.
    """

    settings: Settings
    effects: tuple[str, ...]
    as_is: Recipe
    as_meant: Recipe
    findings: tuple[Finding, ...]
    changes: tuple[RecipeChange, ...] = ()
    version: str = ""
