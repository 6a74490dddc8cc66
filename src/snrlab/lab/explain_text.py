"""An explanation as blocks of text, and as a terminal, Markdown or HTML document."""

from __future__ import annotations

from collections.abc import Iterator

from snrlab.lab import blocks
from snrlab.lab.blocks import Block, BulletList, Code, Heading, TableBlock
from snrlab.lab.explain import Effort, Explanation
from snrlab.lab.profile import SHARES
from snrlab.lab.recipe_text import write_recipe
from snrlab.lab.tables import describe
from snrlab.peers.settings import Interpretation, Settings

_LONGEST = 40  # characters of a value
_NAMES = {"weight": "of weight", "loss": "of loss", "gradient": "of gradient energy"}
_FIFTHS = ("t 0-199", "200-399", "400-599", "600-799", "800-999")


def explanation_blocks(explanation: Explanation) -> Iterator[Block]:
    """The explanation as blocks: settings, what they compute, effort, findings, what was meant."""
    interpretation, settings = explanation.interpretation, explanation.settings
    yield f"{settings.source} is {settings.kind}."
    if settings.assumption:
        yield settings.assumption
    yield Heading("What was asked")
    yield BulletList(tuple(_setting_lines(settings)))
    if interpretation.effects:
        yield Heading(f"What {interpretation.version} computes")
        yield BulletList(interpretation.effects)
    else:
        yield Heading("The recipe")
        yield describe(interpretation.as_is) + "."
    yield Heading("Where the effort goes")
    yield from _effort_blocks(explanation.as_is, explanation.profile)
    for start, effort in explanation.later:
        yield f"From step {start}:"
        yield from _effort_blocks(effort, None)
    yield Heading("What to know")
    yield from explanation.findings
    if not explanation.findings:
        yield "Nothing stands out."
    if interpretation.changes:
        yield Heading("What was probably meant")
        yield BulletList(tuple(change.text for change in interpretation.changes))
        yield from _effort_blocks(explanation.as_meant, None)
    yield from _plot_command(interpretation)


def _setting_lines(settings: Settings) -> Iterator[str]:
    """A line for each setting that affects the recipe and is not at its default; the others are summed up."""
    chosen = [name for name in settings.recipe_options if name not in settings.at_default]
    yield from (_option_line(name, settings.options[name]) for name in chosen)
    others = len(settings.options) - len(settings.recipe_options)
    if not chosen:
        yield "nothing that affects the recipe"
    if settings.at_default:
        yield f"at the default: {', '.join(settings.at_default)}"
    if others:
        which = "setting that does" if others == 1 else "settings that do"
        yield f"and {others} {which} not affect the recipe (images, optimizer and so on)"


def _option_line(name: str, value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{name} = {text if len(text) <= _LONGEST else text[: _LONGEST - 3] + '...'}"


def _effort_blocks(effort: Effort | None, profile: str | None) -> Iterator[Block]:
    if effort is None:
        yield "It has no finite weights, so there are no shares to show."
        return
    head = ("share", *_FIFTHS, *effort.bands["weight"])
    rows = []
    for kind in SHARES:
        values = (*effort.fifths[kind], *effort.bands[kind].values())
        rows.append((_NAMES[kind], *(f"{100 * value:.1f} %" for value in values)))
    yield TableBlock((head, *rows))
    floor = f", loss floor of the perturbation {effort.floor:.4g}" if effort.floor else ""
    untrained = f", never trained: {effort.untrained}" if effort.untrained else ""
    counts = f"Mean weight {effort.mean_weight:.3g}, effective sample size {effort.effective_sample_size:.0%}"
    yield f"{counts}{floor}{untrained}."
    if profile is not None:
        yield f"Loss and gradient shares are from the profile of {profile}; another model has another one."


def _plot_command(interpretation: Interpretation) -> Iterator[Block]:
    yield Heading("See it")
    meant = f' "as meant = {write_recipe(interpretation.as_meant)}"' if interpretation.changes else ""
    yield Code(f'snrlab plot "as it is = {write_recipe(interpretation.as_is)}"{meant} -o recipe.html')


def explanation_to_text(explanation: Explanation) -> str:
    """The explanation as text for a terminal."""
    return blocks.to_text(explanation_blocks(explanation))


def explanation_to_markdown(explanation: Explanation) -> str:
    """The explanation as Markdown."""
    return blocks.to_markdown(explanation.settings.source, explanation_blocks(explanation))


def explanation_to_html(explanation: Explanation, figure: str = "") -> str:
    """The explanation as one HTML file that opens offline; `figure` is SVG."""
    return blocks.to_html(explanation.settings.source, explanation_blocks(explanation), figure)
