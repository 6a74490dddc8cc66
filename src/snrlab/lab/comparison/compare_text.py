"""A comparison as blocks of text: tables of shares and distances, and advice on learning rates."""

from __future__ import annotations

from collections.abc import Iterator

from snrlab.core.bands import BANDS
from snrlab.lab.blocks import Block, BulletList, Code, Heading, TableBlock
from snrlab.lab.comparison.compare import Comparison, Member
from snrlab.lab.recipe_text import write_recipe

NOISY = 0.8  # an effective sample size that is smaller by this factor is mentioned
SAME = 0.02  # relative difference of gradients below which they count as equal
TERMS = (
    "moved effort: the part of the effort that would have to move to turn one into the other (total "
    "variation, 0 to 100 %)",
    "distance: how far effort has to move on average, in nats of log SNR (Wasserstein-1); 0.69 is a factor of 2 in SNR",
    "direction: where the second puts its effort on average, seen from the first",
)


def comparison_title(comparison: Comparison) -> str:
    """The labels of the recipes compared."""
    return " against ".join(m.label for m in comparison.members)


def comparison_blocks(comparison: Comparison) -> Iterator[Block]:
    """The comparison as blocks: the recipes, where the effort goes, how far apart it is, learning rates."""
    yield BulletList(tuple(f"{m.label}: {m.description}" for m in comparison.members))
    yield from dict.fromkeys(f"{m.label}: {m.assumption}" for m in comparison.members if m.assumption)
    yield Heading("Where the effort goes")
    yield "Share of the weight, with every prediction type expressed in v space:"
    yield TableBlock(tuple(_shares(comparison, "weight")))
    yield f"Share of the gradient energy, from the profile of {comparison.profile}; another model has another one:"
    yield TableBlock(tuple(_shares(comparison, "gradient")))
    yield Heading("How far apart")
    yield TableBlock(tuple(_distances(comparison)))
    yield BulletList(TERMS)
    yield Heading("What the same learning rate means")
    yield TableBlock(tuple(_rates(comparison)))
    yield BulletList(tuple(_learning_rate_advice(comparison)))
    yield Heading("See it")
    yield Code(f"snrlab plot {' '.join(_recipe_argument(m) for m in comparison.members)} -o compare.html")


def _recipe_argument(member: Member) -> str:
    line = write_recipe(member.recipe)
    return f'"{line}"' if line == member.label else f'"{member.label} = {line}"'


def _shares(comparison: Comparison, kind: str) -> Iterator[tuple[str, ...]]:
    """A row for each member, then the change of each against the first, in percentage points."""
    terminal = kind == "weight" and any(m.law.without_signal for m in comparison.members)
    yield ("", *BANDS, *(("of it at SNR 0",) if terminal else ()))
    for m in comparison.members:
        last = (f"{100 * m.law.without_signal:.2g}%",) if terminal else ()
        yield (m.label, *(f"{m.bands[kind][band]:.1%}" for band in BANDS), *last)
    for m in comparison.members[1:]:
        changes = (f"{100 * (m.bands[kind][b] - comparison.first.bands[kind][b]):+.1f}" for b in BANDS)
        last = (f"{100 * (m.law.without_signal - comparison.first.law.without_signal):+.2g}",) if terminal else ()
        yield (f"{m.label}, points more", *changes, *last)


def _distances(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    yield ("", "moved effort", "distance", "direction")
    for d in comparison.distances:
        side = "noisier" if d.shift < 0 else "cleaner"
        direction = f"{abs(d.shift):.2f} {side}" if abs(d.shift) >= 0.005 else "the same on average"
        yield (f"{d.first} - {d.second}", f"{d.total_variation:.1%}", f"{d.wasserstein:.2f}", direction)


def _rates(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    has_rates = any(m.learning_rate for m in comparison.members)
    head = ("", "mean weight", "expected gradient", "SGD: learning rate x", "gradient clipping x")
    yield (*head, *(("learning rate stated", "SGD: matched to the first") if has_rates else ()))
    for m in comparison.members:
        ratio, matched = comparison.ratio(m), comparison.matched(m)
        row = (m.label, f"{m.tables.mean_weight:.3g}", f"{ratio:.3g} x", f"{1 / ratio:.3g}", f"{ratio:.3g}")
        rate = f"{m.learning_rate:.3g}" if m.learning_rate else "-"
        yield (*row, *((rate, f"{matched:.3g}" if matched else "-") if has_rates else ()))


def _learning_rate_advice(comparison: Comparison) -> Iterator[str]:
    """What a constant factor in the loss changes for each optimizer, and what it does not."""
    for m in comparison.members[1:]:
        size, reference = m.tables.effective_sample_size, comparison.first.tables.effective_sample_size
        if size < NOISY * reference:
            yield (
                f"{m.label}: its weights make {size:.0%} of a batch count ({comparison.first.label}: {reference:.0%}), "
                "so its steps are as noisy as with a smaller batch; a larger batch or a lower rate makes up for that"
            )
    changed = [m for m in comparison.members[1:] if abs(comparison.ratio(m) - 1) > SAME]
    if not changed:
        yield "the gradients are as large as the first one's, so no learning rate has to change"
        return
    yield (
        "expected gradient: root mean square of one image's gradient under the profile, not the mean weight: a "
        "weight counts where the network is wrong"
    )
    yield (
        "AdamW, Lion, Adafactor, Prodigy: they divide by the gradient's own size, so a constant factor cancels and the "
        "learning rate stays; weight decay and warm-up stay too. What remains is the difference in shape shown above"
    )
    yield (
        "it does not cancel where gradients are clipped: max_grad_norm 1 cuts larger ones more, so multiply it by the "
        "number in its column to cut as often; nor where they are as small as Adam's epsilon (1e-8)"
    )
    yield (
        "SGD: steps grow by the factor; for steps of the same size, multiply the learning rate by the number in its "
        "column"
    )
    yield "a loss curve changes by the factor of its own share and cannot be compared; compare unweighted losses"
