"""An explanation as blocks of text, and as a terminal, Markdown or HTML document."""

from __future__ import annotations

from collections.abc import Iterator

from snrlab.lab import blocks
from snrlab.lab.blocks import Block, BulletList, Code, Heading, Lead, NumberedList, TableBlock
from snrlab.lab.explain import Effort, Explanation
from snrlab.lab.profile import SHARES
from snrlab.lab.recipe_text import write_recipe
from snrlab.lab.tables import describe
from snrlab.lab.verdict.verdict import percent
from snrlab.peers.settings import Interpretation, Settings

_LONGEST = 40  # characters of a value
_NAMES = {"weight": "of training", "loss": "of loss", "gradient": "of gradient energy"}
_FIFTHS = ("t 0-199", "200-399", "400-599", "600-799", "800-999")


def explanation_blocks(explanation: Explanation, *, details: bool = False) -> Iterator[Block]:
    """The explanation as blocks: the point, what to do, where the training goes, settings, findings, what was meant.

    Args:
        explanation: the explanation.
        details: also give shares of loss and gradient energy, and statistics.
    """
    interpretation = explanation.interpretation
    yield Lead(" ".join(explanation.verdict.sentences))
    if explanation.verdict.advice:
        yield Heading("What to do")
        yield NumberedList(tuple(advice.text for advice in explanation.verdict.advice))
    yield Heading("Where the training goes")
    yield from _zone_blocks(explanation)
    if details:
        yield from _detail_blocks(explanation)
    yield from _source_blocks(interpretation)
    yield Heading("What to know")
    yield from explanation.findings
    if not explanation.findings:
        yield "Nothing stands out."
    if interpretation.changes:
        yield Heading("What you probably wanted")
        yield BulletList(tuple(change.text for change in interpretation.changes))
    yield Heading("See it")
    yield from _commands(interpretation, details=details)


def _source_blocks(interpretation: Interpretation) -> Iterator[Block]:
    """What was read, and what its program computes."""
    settings = interpretation.settings
    yield Heading("What was read")
    yield f"{settings.source} is {settings.kind}."
    if settings.assumption:
        yield settings.assumption
    if settings.options:
        yield BulletList(tuple(_setting_lines(settings)))
    if interpretation.effects:
        yield Heading(f"What {interpretation.version} computes")
        yield BulletList(interpretation.effects)
    else:
        yield Heading("The recipe")
        yield describe(interpretation.as_is) + "."


def _setting_lines(settings: Settings) -> Iterator[str]:
    """A line for each setting that affects the recipe and is not at its default; the others are summed up."""
    chosen = [name for name in settings.recipe_options if name not in settings.at_default]
    yield from (_option_line(name, settings.options[name]) for name in chosen)
    others = len(settings.options) - len(settings.recipe_options)
    if not chosen:
        yield "nothing that affects the recipe"
    if settings.at_default:
        yield f"left at the default: {', '.join(settings.at_default)}"
    if others:
        which = "other setting does" if others == 1 else "other settings do"
        yield f"{others} {which} not affect this (images, optimizer and so on)"


def _option_line(name: str, value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{name} = {text if len(text) <= _LONGEST else text[: _LONGEST - 3] + '...'}"


def _zone_blocks(explanation: Explanation) -> Iterator[Block]:
    """A table with a row for each zone of noise; plain training stands beside."""
    columns = {name: effort for name, effort in _efforts(explanation) if effort is not None}
    if "share" not in columns:
        yield "Its weights are not finite, so there are no shares to show."
        return
    rows = [("", "timesteps", *columns)]
    for cells in zip(*(effort.zones for effort in columns.values()), strict=True):
        rows.append((cells[0].name, cells[0].timesteps or "none", *(percent(cell.share) for cell in cells)))
    yield TableBlock(tuple(rows), grey=1)
    if columns["share"].untrained:
        yield f"Never trained: {columns['share'].untrained}."


def _efforts(explanation: Explanation) -> Iterator[tuple[str, Effort | None]]:
    """The columns of a table: what is computed, by stage; what was meant; plain training as the last."""
    yield "share", explanation.as_is
    yield from ((f"from step {start}", effort) for start, effort in explanation.later)
    if explanation.interpretation.changes:
        yield "as meant", explanation.as_meant
    yield "plain", explanation.plain


def _detail_blocks(explanation: Explanation) -> Iterator[Block]:
    """Shares of weight, loss and gradient energy, and statistics of the weights."""
    yield Heading("In detail")
    for name, effort in _efforts(explanation):
        if effort is None:
            continue
        title = "as it is" if name == "share" else name
        rows = [(title, *_FIFTHS, *effort.bands["weight"])]
        for kind in SHARES:
            values = (*effort.fifths[kind], *effort.bands[kind].values())
            rows.append((_NAMES[kind], *(f"{100 * value:.1f} %" for value in values)))
        yield TableBlock(tuple(rows))
        floor = f", loss floor of the perturbation {effort.floor:.4g}" if effort.floor else ""
        yield f"Mean weight {effort.mean_weight:.3g}, effective sample size {effort.effective_sample_size:.0%}{floor}."
    yield f"Loss and gradient were measured on {explanation.profile}; your model will differ somewhat."


def _commands(interpretation: Interpretation, *, details: bool) -> Iterator[Block]:
    meant = f' "as meant = {write_recipe(interpretation.as_meant)}"' if interpretation.changes else ""
    yield Code(f'snrlab plot "as it is = {write_recipe(interpretation.as_is)}"{meant} -o recipe.html')
    if not details:
        yield "The same command with --details has shares of loss and gradient, and statistics."


def explanation_to_text(explanation: Explanation, *, details: bool = False) -> str:
    """The explanation as text without colours, no line broken."""
    return blocks.to_text(explanation_blocks(explanation, details=details))


def explanation_to_markdown(explanation: Explanation, *, details: bool = False) -> str:
    """The explanation as Markdown."""
    return blocks.to_markdown(explanation.settings.source, explanation_blocks(explanation, details=details))


def explanation_to_html(explanation: Explanation, figure: str = "", *, details: bool = False) -> str:
    """The explanation as one HTML file that opens offline; `figure` is SVG."""
    return blocks.to_html(explanation.settings.source, explanation_blocks(explanation, details=details), figure)
