"""Measure the small models that ship and write their card: README.md and samples.png beside the weights.

    python scripts/build_card.py                 # some minutes on two cores; every figure of the card comes from here
    python scripts/build_card.py --out DIR       # write the card there and leave the package alone
    python scripts/build_card.py --out DIR --count 24 --steps 2     # a dry run, whose figures mean nothing

Read from the package alone: weights, their training.json, the shipped pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import resources
from pathlib import Path

import torch
from PIL import Image

from snrlab.cli.training.train import quiet_libraries
from snrlab.config.sections.output import SampleConfig
from snrlab.core.registries.registry import load_plugins
from snrlab.data import emoji
from snrlab.evaluate.evaluation import Row, choose_concepts, draw_concepts, evaluate_pipeline
from snrlab.evaluate.open_model import OpenedModel, open_model
from snrlab.pictures.grids import labelled
from snrlab.pictures.png_metadata import parameters, save_png

sys.path.insert(0, str(Path(__file__).parent))
from train_autoencoder import psnr

MODELS = Path(str(resources.files("snrlab.models")))
COUNT = 256
SETTINGS = SampleConfig(steps=25, guidance=3.0, seed=0)
SHOWN = ("red apple", "cat face", "rocket", "sunflower", "tiger face", "soccer ball", "hamburger", "snowman")
SETS = {"known": "trained on", "held_out": "never trained on"}


def reconstruction(saved: OpenedModel, count: int = COUNT) -> dict[str, float]:
    """PSNR in dB of the autoencoder on the concepts it never saw, or the first `count` of them, by style."""
    psnr_by_style = {}
    for style in emoji.drawn_styles():
        unseen = [i for i, c in enumerate(emoji.concepts(style)) if c.held_out][:count]
        psnr_by_style[style] = psnr(saved.components.vae, torch.tensor(emoji.images(style)[unseen]).permute(0, 3, 1, 2))
    return psnr_by_style


def measured(saved: OpenedModel, count: int, settings: SampleConfig) -> dict[str, Row]:
    """Samples and losses on known and on held-out concepts of the base's style, by set."""
    return {
        which: evaluate_pipeline(saved, choose_concepts("noto", which, count, []), "noto", settings).rows[0]
        for which in SETS
    }


def samples(models: dict[str, OpenedModel], settings: SampleConfig) -> Image.Image:
    """Some known and some held-out concepts: the true picture, then each model's."""
    by_name = {c.name: c for c in emoji.concepts("noto")}
    concepts = [by_name[name] for name in SHOWN] + [c for c in emoji.concepts("noto") if c.held_out][::13]
    rows = {"true": emoji.images("noto")[[emoji.concepts("noto").index(c) for c in concepts]]}
    rows |= {name: draw_concepts(saved, concepts, settings, ())[None, None] for name, saved in models.items()}
    cells = [
        [Image.fromarray(p).resize((96, 96), Image.Resampling.LANCZOS) for p in pictures] for pictures in rows.values()
    ]
    return labelled(cells, list(rows), [c.name + (" (unseen)" if c.held_out else "") for c in concepts])


def card(psnr_db: dict[str, float], rows: dict[str, dict[str, Row]], settings: SampleConfig) -> str:
    """The text of the card."""
    records = {name: json.loads((MODELS / name / "training.json").read_text()) for name in rows}
    training = "\n".join(
        f"| {name} | `{r['config']}` | {r['seed']} | {r['steps']} | {r['minutes']:g} min | {r['machine']} |"
        for name, r in records.items()
    )
    columns = ("caption match", "paired distance", "content distance", "style")
    figures = "\n".join(
        f"| {name} | {SETS[which]} | " + " | ".join(str(row.measures[c]) for c in columns) + " |"
        for name, by_set in rows.items()
        for which, row in by_set.items()
    )
    bands = list(rows["small"]["known"].loss)
    losses = "\n".join(
        f"| {name} | {SETS[which]} | " + " | ".join(str(row.loss[band]) for band in bands) + " |"
        for name, by_set in rows.items()
        for which, row in by_set.items()
    )
    known = sum(not c.held_out for c in emoji.concepts("noto"))
    sampler = f"DDIM, {settings.steps} steps, guidance {settings.guidance:g}, seed {settings.seed}"
    quality = ", ".join(f"{style} {value:.2f} dB" for style, value in psnr_db.items())
    return f"""# snrlab-small and snrlab-small-v

Two small Stable Diffusion models for 64 px pictures on white, made to be trained further in minutes: `small` predicts
epsilon on Stable Diffusion's schedule, `small_v` predicts v on the same schedule rescaled to end at SNR 0. This card is
written by `python scripts/build_card.py`, which measures every figure in it.

![true pictures, small, small_v](samples.png)

Data: the Noto Emoji in `snrlab.data.emoji` (Apache-2.0, see NOTICE), captions from their names and tags, without the
concepts that are held out in every style (crc32 of the code point, modulo 20, is 0). The autoencoder saw the styles
Fluent 3D and ink (MIT) too. Weights: Apache-2.0, as snrlab.

| model | run | seed | steps | time of the steps | machine |
|---|---|---|---|---|---|
{training}

`make base` trains them. The autoencoder (4000 steps, 30 minutes on the same machine) is `scripts/train_autoencoder.py`.
`small_v` starts from `small` and has a UNet of its own; text encoder, tokenizer and autoencoder are shared.

## How good they are

Reconstruction of unseen concepts by the autoencoder: {quality}.

Samples ({sampler}) against the true pictures, by the style classifier
(`snrlab evaluate`): caption match is finding the concept among 100, by chance 0.01. In brackets 95 % intervals.

| model | concepts | caption match | paired distance | content distance | judged as Noto |
|---|---|---|---|---|---|
{figures}

Unweighted loss as epsilon error:

| model | concepts | {" | ".join(bands)} |
|---|---|{"---|" * len(bands)}
{losses}

## Limits

They know {known:,} emoji and little else: what they draw for other words, and for concepts that were held out,
is mostly a mixture of things they know. 64 px only. Captions are English words from emoji names; 32 tokens at most.
They show how recipes behave in real training; figures do not carry over to large models by themselves.
"""


def build(out: Path, count: int, settings: SampleConfig) -> str:
    """Measure both models and write README.md and samples.png; the text of the card."""
    models = {name: open_model(Path(name)) for name in ("small", "small_v")}
    rows = {name: measured(saved, count, settings) for name, saved in models.items()}
    text = card(reconstruction(models["small"], count), rows, settings)
    out.mkdir(parents=True, exist_ok=True)
    (out / "README.md").write_text(text, encoding="utf-8")
    table = samples(models, settings)
    facts = parameters(settings.model_copy(update={"prompts": list(SHOWN)}), table.size, "small, small_v")
    save_png(table, facts, out / "samples.png")
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=MODELS / "small", help="folder to write to (default: the package's)"
    )
    parser.add_argument("--count", type=int, default=COUNT, help="concepts to measure on, of each set")
    parser.add_argument("--steps", type=int, default=SETTINGS.steps, help="sampler steps")
    arguments = parser.parse_args()
    load_plugins()
    quiet_libraries()
    print(build(arguments.out, arguments.count, SETTINGS.model_copy(update={"steps": arguments.steps})))
