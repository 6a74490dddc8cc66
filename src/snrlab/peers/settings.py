"""What a source asks for, before anybody says what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from snrlab.core.findings.finding import Finding
from snrlab.core.recipe import Recipe


@dataclass(frozen=True)
class Settings:
    """Settings as a source states them.

    Attributes:
        source: name of the file or folder.
        kind: what it is, in words.
        trainer: whose settings they are: `kohya`, `onetrainer` or `snrlab`.
        options: by the trainer's own names.
        matter: names among them that make up the recipe, or that nobody knows.
        usual: names among those whose value is what the trainer does anyway.
        assumption: what had to be assumed to complete the recipe, in a sentence; empty where nothing was.
        remarks: what reading it brought up.
        recipe: of a run of ours, which needs no translation.
        beside: what the file says that is no option of the trainer, such as those of a GUI around it.
        subsets: folders of images that the file itself lists, as a kohya dataset TOML does.
        finished: whether the settings are those that a result was made with, of which it keeps a part.
    """

    source: str
    kind: str
    trainer: str
    options: Mapping[str, Any]
    matter: tuple[str, ...] = ()
    remarks: tuple[Finding, ...] = ()
    recipe: Recipe | None = None
    beside: Mapping[str, Any] = field(default_factory=dict)
    subsets: tuple[Mapping[str, Any], ...] = ()
    finished: bool = False
    usual: tuple[str, ...] = ()
    assumption: str = ""


def other_loss(what: str) -> Finding:
    """A remark on settings whose loss is another than the squared error."""
    message = f"the loss is no plain squared error ({what}); shares of loss and gradient are of a squared one."
    return Finding("other_loss", "info", message)


@dataclass(frozen=True)
class RecipeChange:
    """One thing that the recipe as meant does differently.

    Attributes:
        field: the field of the recipe that it is about.
        text: what, in words that can follow a colon.
        starts_with_name: whether the first of them is a name, which stays as it is where a sentence begins with it.
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
    """What the settings mean.

    Attributes:
        does: sentences on what the trainer computes, each for one setting.
        as_is: the recipe that the trainer really follows.
        as_meant: the recipe that does what the settings say, with the right formulas.
        found: remarks, worst first.
        changes: what `as_meant` does differently; empty where nothing has to change.
        version: which program and version was read for this.
    """

    asked: Settings
    does: tuple[str, ...]
    as_is: Recipe
    as_meant: Recipe
    found: tuple[Finding, ...]
    changes: tuple[RecipeChange, ...] = ()
    version: str = ""
