"""An explanation for people, in blocks."""

from __future__ import annotations

from collections.abc import Iterator

from snrlab.lab import blocks as written
from snrlab.lab.blocks import Block, BulletList, Code, Heading, TableBlock
from snrlab.lab.explain import Effort, Explanation
from snrlab.lab.profile import SHARES
from snrlab.lab.recipe_text import write_recipe
from snrlab.lab.tables import describe
from snrlab.peers.settings import Interpretation, Settings

_SHOWN = 40  # characters of a value
_NAMES = {"weight": "of weight", "loss": "of loss", "gradient": "of gradient energy"}
_FIFTHS = ("t 0-199", "200-399", "400-599", "600-799", "800-999")


def explanation_blocks(explained: Explanation) -> Iterator[Block]:
    """The explanation in its order: asked, computed, effort, remarks, meant."""
    understood, asked = explained.understood, explained.asked
    yield f"{asked.source} is {asked.kind}."
    if asked.assumption:
        yield asked.assumption
    yield Heading("What was asked")
    yield BulletList(tuple(_asked(asked)))
    if understood.does:
        yield Heading(f"What {understood.version} computes")
        yield BulletList(understood.does)
    else:
        yield Heading("The recipe")
        yield describe(understood.as_is) + "."
    yield Heading("Where the effort goes")
    yield from _effort(explained.as_is, explained.profile)
    for start, effort in explained.later:
        yield f"From step {start}:"
        yield from _effort(effort, None)
    yield Heading("What to know")
    yield from explained.found
    if not explained.found:
        yield "Nothing stands out."
    if understood.changes:
        yield Heading("What was probably meant")
        yield BulletList(tuple(change.text for change in understood.changes))
        yield from _effort(explained.as_meant, None)
    yield from _code(understood)


def _asked(asked: Settings) -> Iterator[str]:
    """What the source states, a line each where it matters and is not what the trainer does anyway."""
    chosen = [name for name in asked.matter if name not in asked.usual]
    yield from (_option(name, asked.options[name]) for name in chosen)
    others = len(asked.options) - len(asked.matter)
    if not chosen:
        yield "nothing that touches the recipe"
    if asked.usual:
        yield f"as it is by default: {', '.join(asked.usual)}"
    if others:
        yield f"and {others} {'setting' if others == 1 else 'settings'} of other things, such as images and optimizer"


def _option(name: str, value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{name} = {text if len(text) <= _SHOWN else text[: _SHOWN - 3] + '...'}"


def _effort(effort: Effort | None, profile: str | None) -> Iterator[Block]:
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


def _code(understood: Interpretation) -> Iterator[Block]:
    yield Heading("See it")
    meant = f' "as meant = {write_recipe(understood.as_meant)}"' if understood.changes else ""
    yield Code(f'snrlab plot "as it is = {write_recipe(understood.as_is)}"{meant} -o recipe.html')


def explanation_to_text(explained: Explanation) -> str:
    """For a terminal."""
    return written.to_text(explanation_blocks(explained))


def explanation_to_markdown(explained: Explanation) -> str:
    """Markdown."""
    return written.to_markdown(explained.asked.source, explanation_blocks(explained))


def explanation_to_html(explained: Explanation, css: str, picture: str = "") -> str:
    """One HTML file that opens offline; `picture` is SVG."""
    return written.to_html(explained.asked.source, explanation_blocks(explained), css, picture)
