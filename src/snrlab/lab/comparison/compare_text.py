"""A comparison as blocks of text: what is different, tables of shares, and advice on learning rates."""

from __future__ import annotations

from collections.abc import Iterator

from snrlab.core.bands import BANDS
from snrlab.lab.blocks import Block, BulletList, Code, Heading, Lead, TableBlock
from snrlab.lab.comparison.compare import Comparison, Member
from snrlab.lab.comparison.distance import SPACE
from snrlab.lab.recipe_text import write_recipe
from snrlab.lab.verdict.verdict import percent
from snrlab.lab.verdict.zones import ZONES, Zone, zones

NOISY = 0.8  # an effective sample size that is smaller by this factor is mentioned
SAME = 0.02  # relative difference of gradients below which they count as equal
UNMOVED = 0.005  # share of the training: a smaller difference is none
NO_SHIFT = 0.005  # nats of log SNR: a smaller shift is none
TERMS = (
    "moved effort: the part of the effort that would have to move to turn one into the other (total "
    "variation, 0 to 100 %)",
    "distance: how far effort has to move on average, in nats of log SNR (Wasserstein-1); 0.69 is a factor of 2 in SNR",
    "direction: where the second puts its effort on average, seen from the first",
)


def comparison_title(comparison: Comparison) -> str:
    """The labels of the recipes compared."""
    return " against ".join(m.label for m in comparison.members)


def comparison_blocks(comparison: Comparison, *, details: bool = False) -> Iterator[Block]:
    """The comparison as blocks: the point, the recipes, how much each noise level counts, learning rates.

    Args:
        comparison: the comparison.
        details: also give distances, shares of gradient energy and what they are.
    """
    yield Lead(" ".join(_points(comparison)))
    yield BulletList(tuple(f"{m.label}: {m.description}" for m in comparison.members))
    yield from dict.fromkeys(f"{m.label}: {m.assumption}" for m in comparison.members if m.assumption)
    yield Heading("How much each noise level counts")
    if _space(comparison) is not None:
        yield "The recipes do not predict the same thing, so their shares are those of the error of v."
    yield _zone_table(comparison)
    if details:
        yield from _detail_blocks(comparison)
    yield Heading("What the same learning rate means")
    yield TableBlock(tuple(_rates(comparison, details=details)))
    yield BulletList(tuple(_learning_rate_advice(comparison, details=details)))
    yield Heading("See it")
    yield Code(f"snrlab plot {' '.join(_recipe_argument(m) for m in comparison.members)} -o compare.html")
    if not details:
        yield "The same command with --details has distances, shares of gradient energy and their meaning."


def _points(comparison: Comparison) -> Iterator[str]:
    """What is different between each recipe and the first, a sentence for each."""
    shares, first = _zone_shares(comparison), comparison.first.label
    for member, distance in zip(comparison.members[1:], comparison.distances, strict=False):
        gains = [b.share - a.share for a, b in zip(shares[first], shares[member.label], strict=True)]
        moved = sum(map(abs, gains)) / 2
        if max(moved, distance.total_variation) < UNMOVED:
            yield f"{member.label} trains every noise level as much as {first} does."
            continue
        names = [zone.name for zone in shares[first]]
        source, target = names[gains.index(min(gains))], names[gains.index(max(gains))]
        yield (
            f"Compared with {first}, {member.label} moves {percent(moved)} of the training, most of it from {source} "
            f"to {target}."
        )


def _zone_shares(comparison: Comparison) -> dict[str, tuple[Zone, ...]]:
    """Share of the training by zone of noise, by label."""
    space = _space(comparison)
    return {m.label: zones(m.tables.snr, m.tables.weight_share(space)) for m in comparison.members}


def _space(comparison: Comparison) -> str | None:
    """The space in which shares are given: that of the network's own loss (None), unless the recipes differ in it."""
    return SPACE if len({m.recipe.prediction_type for m in comparison.members}) > 1 else None


def _zone_table(comparison: Comparison) -> TableBlock:
    """A row for each member, the difference of each from the first, and plain training."""
    space, first = _space(comparison), comparison.first
    shares = _zone_shares(comparison)
    plain = zones(first.tables.snr, first.tables.plain.weight_share(space))
    rows = [("", *ZONES), ("", *(zone.timesteps for zone in plain))]
    rows += [(label, *(percent(zone.share) for zone in row)) for label, row in shares.items()]
    rows += [
        (f"{m.label} minus {first.label}", *_differences(shares[m.label], shares[first.label]))
        for m in comparison.members[1:]
    ]
    if all(any(abs(a.share - b.share) > UNMOVED for a, b in zip(row, plain, strict=True)) for row in shares.values()):
        rows.append(("plain training", *(percent(zone.share) for zone in plain)))
        return TableBlock(tuple(rows), grey_rows=1)
    return TableBlock(tuple(rows))


def _differences(one: tuple[Zone, ...], other: tuple[Zone, ...]) -> Iterator[str]:
    """Differences in points of a hundred."""
    return (f"{100 * (a.share - b.share):+.1f}" for a, b in zip(one, other, strict=True))


def _detail_blocks(comparison: Comparison) -> Iterator[Block]:
    yield Heading("In detail")
    yield "Share of the weight, with every prediction type expressed in v space:"
    yield TableBlock(tuple(_shares(comparison, "weight")))
    yield f"Share of the gradient energy, measured on {comparison.profile}; your model will differ somewhat:"
    yield TableBlock(tuple(_shares(comparison, "gradient")))
    yield Heading("How far apart")
    yield TableBlock(tuple(_distances(comparison)))
    yield BulletList(TERMS)


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
        yield (f"{m.label} minus {comparison.first.label}", *changes, *last)


def _distances(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    yield ("", "moved effort", "distance", "direction")
    for d in comparison.distances:
        side = "noisier" if d.shift < 0 else "cleaner"
        direction = f"{abs(d.shift):.2f} {side}" if abs(d.shift) >= NO_SHIFT else "the same on average"
        yield (f"{d.first} - {d.second}", f"{d.total_variation:.1%}", f"{d.wasserstein:.2f}", direction)


def _rates(comparison: Comparison, *, details: bool) -> Iterator[tuple[str, ...]]:
    has_rates = any(m.learning_rate for m in comparison.members)
    head = ("", *(("mean weight",) if details else ()), "gradients", "SGD: learning rate x", "clipping: max norm x")
    yield (*head, *(("learning rate", "SGD: matched to the first") if has_rates else ()))
    for m in comparison.members:
        ratio, matched = comparison.ratio(m), comparison.matched(m)
        mean = (f"{m.tables.mean_weight:.3g}",) if details else ()
        row = (m.label, *mean, f"{ratio:.3g} x as large", f"{1 / ratio:.3g}", f"{ratio:.3g}")
        rate = f"{m.learning_rate:.3g}" if m.learning_rate else "-"
        yield (*row, *((rate, f"{matched:.3g}" if matched else "-") if has_rates else ()))


def _learning_rate_advice(comparison: Comparison, *, details: bool) -> Iterator[str]:
    """What a constant factor in the loss changes for each optimizer, and what it does not."""
    for m in comparison.members[1:]:
        size, reference = m.tables.effective_sample_size, comparison.first.tables.effective_sample_size
        if size < NOISY * reference:
            yield (
                f"{m.label}: its steps are noisier: four images count like {4 * size / reference:.2g} of "
                f"{comparison.first.label}. A larger batch makes up for that."
            )
    changed = [m for m in comparison.members[1:] if abs(comparison.ratio(m) - 1) > SAME]
    if not changed:
        yield "The gradients are as large as the first one's, so no learning rate has to change."
        return
    yield "AdamW, Lion, Adafactor, Prodigy: keep the learning rate. Only the shape above matters."
    yield "SGD: multiply the learning rate by the number in its column, for steps of the same size."
    yield "Gradient clipping: multiply max_grad_norm by the number in its column, to clip as often."
    yield "Do not compare the loss curves: each has its own weights. Compare unweighted losses."
    if details:
        yield (
            "gradients: root mean square of one image's gradient under the profile. It is not the mean weight, since "
            "a weight counts where the network is wrong."
        )
        yield (
            "AdamW and the like divide by the gradient's own size, so a constant factor cancels. It does not cancel "
            "where gradients are as small as Adam's epsilon (1e-8)."
        )
