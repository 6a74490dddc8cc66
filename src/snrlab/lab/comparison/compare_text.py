"""A comparison for people, in blocks."""

from __future__ import annotations

from collections.abc import Iterator

from snrlab.core.bands import BANDS
from snrlab.lab.blocks import Block, BulletList, Code, Heading, TableBlock
from snrlab.lab.comparison.compare import Comparison, Member
from snrlab.lab.recipe_text import write_recipe

NOISY = 0.8  # an effective sample size that is smaller by this factor is worth a remark
SAME = 0.02  # gradients that differ by less are as good as equal
TERMS = (
    "moved effort: the part of the effort that would have to move to make the first out of the second (total "
    "variation, 0 to 100 %)",
    "distance: how far effort has to move on average, in nats of log SNR (Wasserstein-1); 0.69 is a factor of 2 in SNR",
    "direction: where the second puts its effort on average, seen from the first",
)


def title(found: Comparison) -> str:
    """The names of what is compared."""
    return " against ".join(m.label for m in found.members)


def comparison_blocks(found: Comparison) -> Iterator[Block]:
    """The comparison in its order: what, where effort goes, how far apart, learning rate."""
    yield BulletList(tuple(f"{m.label}: {m.what}" for m in found.members))
    yield from dict.fromkeys(f"{m.label}: {m.assumption}" for m in found.members if m.assumption)
    yield Heading("Where the effort goes")
    yield "Share of the weight, with every prediction type told in v space:"
    yield TableBlock(tuple(_shares(found, "weight")))
    yield f"Share of the gradient energy, from the profile of {found.profile}; another model has another one:"
    yield TableBlock(tuple(_shares(found, "gradient")))
    yield Heading("How far apart")
    yield TableBlock(tuple(_distances(found)))
    yield BulletList(TERMS)
    yield Heading("What the same learning rate means")
    yield TableBlock(tuple(_rates(found)))
    yield BulletList(tuple(_rate_remarks(found)))
    yield Heading("See it")
    yield Code(f"snrlab plot {' '.join(_named(m) for m in found.members)} -o compare.html")


def _named(member: Member) -> str:
    line = write_recipe(member.recipe)
    return f'"{line}"' if line == member.label else f'"{member.label} = {line}"'


def _shares(found: Comparison, kind: str) -> Iterator[tuple[str, ...]]:
    """A row a member, then the change of each against the first in percentage points."""
    terminal = kind == "weight" and any(m.law.without_signal for m in found.members)
    yield ("", *BANDS, *(("of it at SNR 0",) if terminal else ()))
    for m in found.members:
        last = (f"{100 * m.law.without_signal:.2g}%",) if terminal else ()
        yield (m.label, *(f"{m.bands[kind][band]:.1%}" for band in BANDS), *last)
    for m in found.members[1:]:
        changes = (f"{100 * (m.bands[kind][b] - found.first.bands[kind][b]):+.1f}" for b in BANDS)
        last = (f"{100 * (m.law.without_signal - found.first.law.without_signal):+.2g}",) if terminal else ()
        yield (f"{m.label}, points more", *changes, *last)


def _distances(found: Comparison) -> Iterator[tuple[str, ...]]:
    yield ("", "moved effort", "distance", "direction")
    for d in found.distances:
        way = "noisier" if d.shift < 0 else "cleaner"
        direction = f"{abs(d.shift):.2f} {way}" if abs(d.shift) >= 0.005 else "the same on average"
        yield (f"{d.first} - {d.second}", f"{d.total_variation:.1%}", f"{d.wasserstein:.2f}", direction)


def _rates(found: Comparison) -> Iterator[tuple[str, ...]]:
    stated = any(m.learning_rate for m in found.members)
    head = ("", "mean weight", "expected gradient", "SGD: learning rate x", "gradient clipping x")
    yield (*head, *(("learning rate stated", "SGD: matched to the first") if stated else ()))
    for m in found.members:
        ratio, matched = found.ratio(m), found.matched(m)
        row = (m.label, f"{m.tables.mean_weight:.3g}", f"{ratio:.3g} x", f"{1 / ratio:.3g}", f"{ratio:.3g}")
        given = f"{m.learning_rate:.3g}" if m.learning_rate else "-"
        yield (*row, *((given, f"{matched:.3g}" if matched else "-") if stated else ()))


def _rate_remarks(found: Comparison) -> Iterator[str]:
    """What a constant factor does, and what it does not."""
    for m in found.members[1:]:
        size, usual = m.tables.effective_sample_size, found.first.tables.effective_sample_size
        if size < NOISY * usual:
            yield (
                f"{m.label}: its weights make {size:.0%} of a batch count ({found.first.label}: {usual:.0%}), so its "
                "steps are as noisy as those of a smaller batch; a larger batch or a lower rate makes up for that"
            )
    changed = [m for m in found.members[1:] if abs(found.ratio(m) - 1) > SAME]
    if not changed:
        yield "gradients are as large as the first one's: no learning rate has to change"
        return
    yield (
        "expected gradient: root mean square of one picture's gradient under the profile, not the mean weight: a "
        "weight counts where the network is wrong"
    )
    yield (
        "AdamW, Lion, Adafactor, Prodigy: they divide by the gradient's own size, so a constant factor cancels and the "
        "learning rate stays; weight decay and warm-up stay too. What remains is the other shape, told above"
    )
    yield (
        "it does not cancel where gradients are clipped: max_grad_norm 1 cuts larger ones more, so multiply it by the "
        "number in its column to cut as often; nor where they are as small as Adam's epsilon (1e-8)"
    )
    yield "SGD: steps grow by the factor; multiply the learning rate by the number in its column for steps as large"
    yield "a loss curve changes by the factor of its own share and cannot be compared; compare unweighted losses"
