"""The pictures of the README, light and dark, and the section that shows them.

python scripts/build_gallery.py        # writes docs/images/gallery-*.png and the README's gallery
"""

from __future__ import annotations

import io
import shlex
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from snrlab.core.registries.registry import load_plugins
from snrlab.lab.figures.plots import draw_figure, figure_bytes
from snrlab.lab.figures.theme import MODES, Mode
from snrlab.lab.recipe_text import parse_recipe

ROOT = Path(__file__).parent.parent
IMAGES = Path("docs") / "images"
COLOURS = 128
START, END = "<!-- gallery: scripts/build_gallery.py -->\n", "<!-- end of gallery -->\n"


@dataclass(frozen=True)
class Plate:
    """One picture: its name, what to see in it, the recipes and the panels, and whether weights are logarithmic."""

    name: str
    caption: str
    recipes: tuple[str, ...]
    show: str
    log: bool = False

    @property
    def command(self) -> str:
        """How to make it."""
        words = [shlex.quote(r).replace("'", '"') for r in self.recipes]
        return " ".join(["snrlab plot", *words, "--show", self.show, *(["--log"] if self.log else [])])

    def picture(self, mode: Mode) -> bytes:
        """PNG, with a palette: a third of the bytes, and nobody sees it."""
        tables = {label: recipe.tables() for label, recipe in map(parse_recipe, self.recipes)}
        figure = draw_figure(tables, self.show.split(","), mode=mode, log_weight=self.log)
        image = Image.open(io.BytesIO(figure_bytes(figure, "png"))).convert("RGB")
        content = io.BytesIO()
        image.quantize(COLOURS, dither=Image.Dither.NONE).save(content, "png", optimize=True)
        return content.getvalue()


PLATES = (
    Plate(
        "recipes",
        "Four recipes for SD 1.5 and SDXL: the weight, and where the effort goes, from clean pictures (left) to noise.",
        ("Plain = plain", "Min-SNR-5 = min_snr", "Debiased = debiased", "Debiased, at most 7 = debiased max_weight=7"),
        "weight,emphasis",
    ),
    Plate(
        "one-name",
        "One name, three formulas: Debiased Estimation on v, by its paper and in two trainers.",
        (
            "the paper, converted = v_prediction debiased",
            "kohya sd-scripts = v_prediction kohya_debiased_v",
            "OneTrainer = v_prediction onetrainer_debiased_v",
        ),
        "weight",
    ),
    Plate(
        "stale-table",
        "Min-SNR-5 with zero-terminal SNR: kohya's trainer weighs by the schedule from before the rescaling.",
        (
            "kohya sd-scripts = v_prediction zero_terminal_snr kohya_before_rescale",
            "the rescaled schedule = v_prediction zero_terminal_snr min_snr",
        ),
        "weight",
        log=True,
    ),
    Plate(
        "ip-noise",
        "The part of the loss that IP noise leaves for good: losses with and without it do not compare.",
        (
            "constant 0.1 = ip_noise:gamma=0.1",
            "random up to 0.1 = ip_noise_random:gamma=0.1",
            "scaled by SNR = ip_noise_snr:gamma=0.1",
        ),
        "perturbation",
    ),
    Plate(
        "models",
        "Other models on the same map: Stable Diffusion's plain loss, and SD3's.",
        (
            "Stable Diffusion = plain",
            "plain v = v_prediction",
            "SD3 = flow_prediction schedule=rectified_flow:shift=3 density=logit_normal",
        ),
        "emphasis",
    ),
)


def file(plate: Plate, mode: Mode) -> Path:
    """Where a picture lies."""
    return IMAGES / f"gallery-{plate.name}-{mode}.png"


def section(plate: Plate) -> str:
    """A picture as the README shows it, for readers in the light and in the dark."""
    light, dark = (file(plate, mode).as_posix() for mode in ("light", "dark"))
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{plate.caption}" width="700"></picture>\n\n{plate.caption}\n\n    {plate.command}\n\n'
    )


def readme(text: str) -> str:
    """The README with its gallery as it should be."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return before + START + "\n" + "".join(section(p) for p in PLATES) + END + after


def main() -> None:
    """Write pictures and section."""
    load_plugins()
    for plate in PLATES:
        for mode in MODES:
            (ROOT / file(plate, mode)).write_bytes(plate.picture(mode))
            print(f"wrote {file(plate, mode)}")
    page = ROOT / "README.md"
    page.write_text(readme(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
