"""A comparison of runs as blocks of text: the verdict, the losses, and the settings that differ."""

from __future__ import annotations

from collections.abc import Iterator

from snrlab.lab.blocks import Block, BulletList, Code, Heading, TableBlock
from snrlab.lab.run_comparison.differences import BandChange, PairComparison, Reading
from snrlab.lab.run_comparison.run_comparison import RunComparison
from snrlab.lab.run_comparison.verdict import pair_sentence
from snrlab.lab.statistics import Estimate

LOSS_IS_NOT_ALL = "A lower loss on held-out images does not always make better pictures, so look at both."
WHY_MORE_SEEDS = "To tell the recipe from luck, train more seeds and compare all the runs together:"
HOW_INTERVALS = (
    "The interval covers the true change 95 times in 100. Only lower and higher count as clear: there the change "
    "stays on one side of 0 even after allowing for all bands and runs in the tables."
)
_MEANINGS: dict[Reading, str] = {
    "lower": "lower",
    "perhaps lower": "perhaps lower",
    "none shown": "no difference shown",
    "perhaps higher": "perhaps higher",
    "higher": "higher",
}


def runs_title(comparison: RunComparison) -> str:
    """The labels of the arms."""
    return " against ".join(arm.label for arm in comparison.arms)


def run_blocks(comparison: RunComparison) -> Iterator[Block]:
    """The comparison as blocks, without that of the recipes."""
    yield from answer_blocks(comparison)
    yield from loss_blocks(comparison)
    yield from setting_blocks(comparison)


def answer_blocks(comparison: RunComparison) -> Iterator[Block]:
    """The verdict, the reasons for caution, and what to do about them."""
    verdict = comparison.verdict
    yield verdict.sentence
    if verdict.caution:
        yield verdict.caution
    if comparison.notes:
        yield BulletList(comparison.notes)
    if comparison.to_train and verdict.caution:
        yield WHY_MORE_SEEDS
        yield from map(Code, comparison.to_train)
    if verdict.kind != "not measured":
        yield LOSS_IS_NOT_ALL


def loss_blocks(comparison: RunComparison) -> Iterator[Block]:
    """The held-out losses, a table for every two arms."""
    yield Heading("Held-out loss by noise level")
    for compared in comparison.pairs:
        yield pair_introduction(compared, several=len(comparison.pairs) > 1)
        if compared.bands:
            yield TableBlock((loss_head(compared), *(loss_row(band) for band in compared.bands)))
    if any(compared.bands for compared in comparison.pairs):
        yield HOW_INTERVALS


def pair_introduction(compared: PairComparison, *, several: bool) -> str:
    """The sentences above the losses of two arms; with `several` pairs also their own verdict."""
    if compared.obstacle is not None:
        return f"{compared.first} and {compared.second}: {compared.obstacle.message}"
    images = f"the same {compared.count} images and noise in both"
    seeds = f"{compared.seeds} seeds of each"
    basis = {
        "pairs of images": f"Error on held-out images, {images}; the interval is over pairs of images.",
        "pairs of seeds": f"Error on held-out images, {seeds}; the interval is over pairs of the same seed.",
        "seeds": f"Error on held-out images, {seeds}; the interval is over the seeds, which are not the same.",
        "none": "",
    }[compared.method]
    return f"{pair_sentence(compared)} {basis}" if several else basis


def loss_head(compared: PairComparison) -> tuple[str, ...]:
    """The heading of a table of losses."""
    before = ("before training",) if compared.bands[0].before is not None else ()
    change = f"{compared.second} is"
    return ("noise level", change, "change", "95 % interval", compared.first, compared.second, *before)


def loss_row(band: BandChange) -> tuple[str, ...]:
    """A line of a table of losses."""
    before = (f"{band.before:.4g}",) if band.before is not None else ()
    losses = (f"{band.first:.4g}", f"{band.second:.4g}")
    return (band.band, _MEANINGS[band.reading], _percent(band.change.value), _interval(band.change), *losses, *before)


def setting_blocks(comparison: RunComparison) -> Iterator[Block]:
    """The settings that differ."""
    yield Heading("Settings that differ")
    if not comparison.settings:
        yield "None."
        return
    rows = [(setting.field, *setting.values) for setting in comparison.settings]
    yield TableBlock((("", *(arm.label for arm in comparison.arms)), *rows))


def _percent(part: float) -> str:
    return f"{100 * part:+.2f} %"


def _interval(change: Estimate) -> str:
    return f"{100 * change.low:+.2f} to {100 * change.high:+.2f} %"
