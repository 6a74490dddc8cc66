"""The classic set of graphs and tables for Stable Diffusion's schedule, one graph for each option."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snrlab.core.errors import UserError
from snrlab.core.findings.recipe_findings import findings
from snrlab.lab.figures.plots import draw_figure, figure_bytes
from snrlab.lab.recipe_text import parse_recipe
from snrlab.lab.tables import notable_timesteps, rows_to_csv

_EVERY = 25
EPSILON, V = "epsilon", "v_prediction zero_terminal_snr"


@dataclass(frozen=True)
class Plate:
    """A graph: file name, captions for epsilon and for v, recipes without their prediction type, and panels."""

    name: str
    captions: tuple[str, str]
    recipes: tuple[str, ...]
    panels: tuple[str, ...] = ("weight", "emphasis")
    ceiling: float | None = None


PLATES = (
    Plate(
        "snr",
        (
            "SNR(t), cut at 10. SD 1.5, 2 and XL share it; half of the steps lie below 0.4.",
            "SNR(t), cut at 10. Rescaled, it ends at 0; half of the steps lie below 0.33.",
        ),
        ("Stable Diffusion = ",),
        ("snr",),
        10.0,
    ),
    Plate(
        "min-snr",
        (
            "Min-SNR-5 turns down the steps that are cleaner than SNR 5 and leaves the others alone.",
            "Min-SNR-5 on v is min(SNR, 5) / (SNR + 1): it also turns noisy steps down, and the last one off.",
        ),
        ("plain = ", "Min-SNR-5 = min_snr:gamma=5"),
    ),
    Plate(
        "debiased",
        (
            "Debiased Estimation turns noisy steps up; a limit at 7 acts on the noisiest only.",
            "Debiased Estimation on v is sqrt(SNR) / (SNR + 1): highest at SNR 1, never above 1/2, 0 at the last step. "
            "A limit at 7 never acts.",
        ),
        ("plain = ", "Debiased = debiased", "Debiased, at most 7 = debiased max_weight=7"),
    ),
    Plate(
        "both",
        ("Together they multiply, so the order does not matter: the two last are one line.",) * 2,
        (
            "Min-SNR-5 = min_snr:gamma=5",
            "Debiased = debiased",
            "Min-SNR-5, then Debiased = min_snr:gamma=5 debiased",
            "Debiased, then Min-SNR-5 = debiased min_snr:gamma=5",
        ),
    ),
    Plate(
        "ip-noise",
        (
            "IP noise leaves a loss that no training removes; a random strength leaves a third of it, one scaled by "
            "SNR next to none where pictures are noise.",
            "On v the loss that IP noise leaves shrinks with the signal. The method was made for epsilon: see below.",
        ),
        (
            "constant 0.1 = ip_noise:gamma=0.1",
            "random up to 0.1 = ip_noise_random:gamma=0.1",
            "scaled by SNR = ip_noise_snr:gamma=0.1",
        ),
        ("perturbation",),
    ),
)


def write_article(folder: Path) -> list[Path]:
    """Write every plate for epsilon and for v with zero-terminal SNR, with tables and a page of captions.

    Raises:
        UserError: the folder is not empty or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UserError(f"--article: {folder} is not empty; name a new folder.", code="already-exists")
        return _write_files(folder)
    except OSError as reason:
        raise UserError(f"--article: {folder} cannot be written ({reason.strerror}).", code="unwritable-file") from None


def _write_files(folder: Path) -> list[Path]:
    paths, lines = [], ["# SNR, weights and emphasis on Stable Diffusion's schedule", ""]
    for suffix, prediction in (("epsilon", EPSILON), ("v-zero-terminal", V)):
        lines += [f"## {'Epsilon-prediction' if prediction == EPSILON else 'v-prediction, zero-terminal SNR'}", ""]
        for plate in PLATES:
            file = folder / f"{plate.name}-{suffix}.png"
            file.write_bytes(_draw_plate(plate, prediction))
            paths.append(file)
            lines += [
                plate.captions[prediction == V],
                "",
                f"![{plate.name}]({file.name})",
                "",
                *_warning_lines(plate.recipes, prediction),
            ]
        table = folder / f"table-{suffix}.csv"
        table.write_text(_table_csv(prediction), encoding="utf-8")
        paths.append(table)
        lines += [
            f"Min-SNR-5 x Debiased every {_EVERY} steps and where something changes: [{table.name}]({table.name})",
            "",
        ]
    page = folder / "README.md"
    page.write_text("\n".join(lines), encoding="utf-8")
    return [*paths, page]


def _draw_plate(plate: Plate, prediction: str) -> bytes:
    parsed = dict(parse_recipe(f"{text} {prediction}") for text in plate.recipes)
    tables = {label: recipe.tables() for label, recipe in parsed.items()}
    return figure_bytes(draw_figure(tables, plate.panels, ceiling=plate.ceiling), "png")


def _warning_lines(recipes: Sequence[str], prediction: str) -> list[str]:
    """Markdown lines of the warnings about recipes, each warning once with the labels it applies to."""
    labels_by_warning: dict[str, list[str]] = {}
    for text in recipes:
        label, recipe = parse_recipe(f"{text} {prediction}")
        for finding in findings(recipe):
            if finding.grade == "warning":
                labels_by_warning.setdefault(finding.in_full, []).append(label)
    return (
        [*(f"- {' / '.join(labels)}: {message}" for message, labels in labels_by_warning.items()), ""]
        if labels_by_warning
        else []
    )


def _table_csv(prediction: str) -> str:
    _, recipe = parse_recipe(f"Both = min_snr:gamma=5 debiased {prediction}")
    tables = recipe.tables()
    steps = sorted({*range(0, len(tables.t), _EVERY), *notable_timesteps(recipe, tables)})
    return rows_to_csv(tables.rows(steps))
