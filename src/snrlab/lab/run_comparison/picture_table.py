"""Pictures of a comparison of runs: the same prompts and noise, for each run, step and strength."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PictureView:
    """One place of the slider: the weights that were saved after a step, at a strength.

    Attributes:
        step: None is the end of each run, whatever its number.
        strength: of the LoRA.
    """

    step: int | None
    strength: float

    def __str__(self) -> str:
        """The place in words."""
        step = "end of training" if self.step is None else f"step {self.step}"
        return step if self.strength == 1 else f"{step}, strength {self.strength:g}"


@dataclass(frozen=True)
class PictureRow:
    """Pictures of one run, or of a base model.

    Attributes:
        label: what drew them.
        views: the pictures by view, one for each prompt: image files in a format that browsers show. The row of a base
            model has one view, None.
        missing: why there are no pictures; empty if there are.
    """

    label: str
    views: dict[PictureView | None, tuple[bytes, ...]]
    missing: str = ""


@dataclass(frozen=True)
class PictureTable:
    """Rows of pictures, with one column for each prompt.

    Attributes:
        views: the places of the slider, in order; the last one is shown first.
        notes: how the pictures were drawn, and what a reader has to know.
    """

    prompts: tuple[str, ...]
    rows: tuple[PictureRow, ...]
    views: tuple[PictureView, ...]
    notes: tuple[str, ...] = ()
