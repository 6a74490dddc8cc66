"""`snrlab compare` of run folders: which was better, in the terminal, as a page with pictures, or as data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snrlab.cli.strengths import check_finite_strength
from snrlab.core.errors import UserError

if TYPE_CHECKING:
    from snrlab.lab.blocks import Block
    from snrlab.lab.run_comparison.picture_table import PictureTable
    from snrlab.lab.run_comparison.run_comparison import RunComparison
    from snrlab.lab.run_comparison.run_record import RunRecord


@dataclass(frozen=True)
class PictureOptions:
    """The options of `compare` that choose the pictures; `wanted` is None where the format decides."""

    wanted: bool | None
    prompts: Sequence[str]
    steps: Sequence[int]
    strengths: Sequence[float]

    def refuse_without_runs(self) -> None:
        """Refuse options of pictures where not every source is a run folder (UserError)."""
        if self.wanted or self.prompts or self.steps or self.strengths:
            raise UserError(
                "pictures are drawn where every source is a run folder; here one is not.", code="unused-option"
            )

    def refuse_unused(self, form: str) -> bool:
        """Whether pictures are to be drawn in this format (UserError for options without a use)."""
        check_finite_strength("--strength", self.strengths)
        draw = form == "html" if self.wanted is None else self.wanted
        if draw and form != "html":
            raise UserError("--pictures go into a page; name one with -o page.html.", code="unused-option")
        given = {"--prompt": self.prompts, "--step": self.steps, "--strength": self.strengths}
        unused = [option for option, values in given.items() if values]
        if unused and not draw:
            raise UserError(
                f"{unused[0]} chooses pictures of runs; write a page with them by -o page.html.", code="unused-option"
            )
        return draw


def compare_runs_document(
    sources: Sequence[str], form: str, pictures: PictureOptions, *, details: bool
) -> str | list[Block]:
    """The answer of `compare` on run folders, in one of its formats; text is given as blocks.

    Raises:
        UserError: a run cannot be read, or an option has no use.
    """
    from snrlab.lab import blocks
    from snrlab.lab.run_comparison.run_comparison import compare_run_records
    from snrlab.lab.run_comparison.run_page import render_runs
    from snrlab.lab.run_comparison.run_record import read_run_records
    from snrlab.lab.run_comparison.run_text import run_blocks, runs_title

    draw = pictures.refuse_unused(form)
    records = read_run_records(sources)
    comparison = compare_run_records(records)
    if form == "json":
        return json.dumps(comparison.as_data(), indent=1)
    recipes = list(_recipe_blocks(comparison, details=details))
    content = [*run_blocks(comparison), *recipes]
    match form:
        case "html":
            return render_runs(comparison, _draw(records, pictures) if draw else None, recipes)
        case "md":
            return blocks.to_markdown(runs_title(comparison), content)
    return content


def _recipe_blocks(comparison: RunComparison, *, details: bool) -> Iterator[Block]:
    """The comparison of the recipes, where they differ."""
    from snrlab.lab.blocks import Heading
    from snrlab.lab.comparison.compare import compare
    from snrlab.lab.comparison.compare_text import comparison_blocks

    if any(setting.field.startswith("recipe.") for setting in comparison.settings):
        yield Heading("The recipes")
        yield from comparison_blocks(
            compare([f"{arm.label} = {arm.folders[0]}" for arm in comparison.arms]), details=details
        )


def _draw(records: Sequence[RunRecord], pictures: PictureOptions) -> PictureTable:
    from snrlab.cli.training.train import quiet_libraries

    quiet_libraries()
    from snrlab.evaluate.run_pictures import draw_run_pictures, picture_count
    from snrlab.progress import Throughput

    total = picture_count(records, pictures.prompts, pictures.steps, len(pictures.strengths))
    progress = Throughput("pictures", total, verb="drew")
    table = draw_run_pictures(records, pictures.prompts, pictures.steps, pictures.strengths, progress.update)
    progress.close()
    return table
