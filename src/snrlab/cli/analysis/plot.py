"""`snrlab plot`: recipes as graphs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snrlab.cli.choices import one_of
from snrlab.cli.messages import report_written
from snrlab.core.errors import UserError, unknown
from snrlab.lab.figures.panels import DEFAULT, PANELS
from snrlab.lab.figures.theme import MODES

if TYPE_CHECKING:
    from snrlab.core.recipe import Recipe

_SUFFIXES = (".png", ".svg", ".html", ".csv")


def plot_command(
    recipe: Annotated[
        list[str] | None,
        typer.Argument(
            help='Recipes, such as plain "min_snr:gamma=5" "Limited = debiased max_weight=7", and files or runs that '
            "`explain` reads.",
            metavar="RECIPE|SOURCE...",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            help=f"File to write, by its ending: {', '.join(_SUFFIXES)}. An existing file is kept and the new one is "
            "numbered.",
        ),
    ] = Path("recipes.png"),
    show: Annotated[str, typer.Option(help=f"Graphs, separated by commas: {', '.join(PANELS)}.")] = ",".join(DEFAULT),
    theme: Annotated[str, one_of(MODES, help="Colours; an HTML page follows its reader's setting.")] = "light",
    log: Annotated[bool, typer.Option("--log", help="Draw weights on a logarithmic axis.")] = False,
    ceiling: Annotated[
        float | None, typer.Option(help="Cut the SNR graph at this value, on a linear axis.", min=1e-3)
    ] = None,
    article: Annotated[
        Path | None,
        typer.Option(help="Write the classic set of graphs and tables for Stable Diffusion into DIR.", metavar="DIR"),
    ] = None,
) -> None:
    """Draw recipes over each other: SNR, weight, density, effective emphasis, perturbation.

    A recipe is a line of words: a prediction type, weightings, a perturbation, zero_terminal_snr,
    max_weight=7, density=laplace:mean=0.5 and so on.

    Example: snrlab plot plain min_snr "Debiased, at most 7 = debiased max_weight=7" -o recipes.html
    """
    if article is not None:
        from snrlab.lab.figures.article import write_article

        if recipe:
            raise UserError("--article writes a fixed set; leave out the recipes.", code="conflicting-options")
        for path in write_article(article):
            report_written(path)
        return
    from snrlab.cli.output_files import free_path, write_and_report

    panels = [name.strip() for name in show.split(",")]
    for name in panels:
        if name not in PANELS:
            raise unknown("--show", name, PANELS)
    if not recipe:
        raise UserError(
            "there is nothing to draw; name recipes, such as: snrlab plot plain min_snr debiased.", code="nothing-to-do"
        )
    target = free_path(out)
    data = recipes_file(_read_named(recipe), target.suffix.lower(), panels, theme, log=log, ceiling=ceiling)
    write_and_report(target, data)


def _read_named(texts: list[str]) -> dict[str, Recipe]:
    """The recipes by their labels; assumptions made to complete one are printed on stderr."""
    from snrlab.lab.recipe_source import read_recipes

    recipes: dict[str, Recipe] = {}
    for named in (named for text in texts for named in read_recipes(text)):
        if named.label in recipes:
            raise UserError(
                f"two recipes are called '{named.label}'; give one of them a name: \"Name = {named.label}\".",
                code="stated-twice",
            )
        if named.assumption:
            typer.echo(f"{named.label}: {named.assumption}", err=True)
        recipes[named.label] = named.recipe
    return recipes


def recipes_file(
    recipes: dict[str, Recipe],
    suffix: str,
    panels: list[str],
    theme: str = "light",
    *,
    log: bool = False,
    ceiling: float | None = None,
) -> bytes:
    """The content of a file with the graphs of recipes, by its ending (UserError for an unknown ending)."""
    if suffix not in _SUFFIXES:
        raise unknown("ending", suffix or "(none)", _SUFFIXES)
    tables = {label: recipe.tables() for label, recipe in recipes.items()}
    if suffix == ".csv":
        from snrlab.lab.figures.data_files import curves_to_csv

        return curves_to_csv(tables).encode()
    if suffix == ".html":
        from snrlab.lab.figures.page import page
        from snrlab.lab.figures.sliders import sliders
        from snrlab.lab.tables import describe

        described = {label: (describe(recipe), tables[label]) for label, recipe in recipes.items()}
        moved = [slider for label, recipe in recipes.items() for slider in sliders(label, recipe)]
        return page(described, panels, moved).encode()
    from snrlab.lab.figures.plots import draw_figure, figure_bytes

    figure = draw_figure(tables, panels, mode=theme, log_weight=log, ceiling=ceiling)  # type: ignore[arg-type]  # one of MODES
    return figure_bytes(figure, suffix[1:])  # type: ignore[arg-type]  # one of SUFFIXES, without the dot
