"""The data side of a run on the tiny model, without the rest: what is served, and what is said meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import tiny
from snrlab.core.recipe import Recipe
from snrlab.data.dataset import load_items
from snrlab.models.components import Components
from snrlab.models.encoding import cache as cache_files
from snrlab.train.inputs.examples import TrainingExamples, encode_examples
from snrlab.train.step.draws import StepRandomness

SIZES = ((48, 28), (28, 48), (64, 24), (33, 33), (48, 28), (100, 80))
CPU = torch.device("cpu")


@cache
def model() -> Components:
    made = tiny.components()
    made.freeze()
    return made


@dataclass
class Encoded:
    """Examples with what was said and how many pictures each encoding had."""

    examples: TrainingExamples
    messages: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    @property
    def encoded(self) -> int:
        return sum(self.batches)

    def batch(self, step=0, slots=4, components=None):
        return self.examples.batch(components or model(), step, np.arange(slots), CPU)


def encode(pictures: Path, components: Components | None = None, **sections) -> Encoded:
    """The examples of a run on the tiny model."""
    components = components or model()
    data = {"caption_dropout": 0.0, **sections.pop("data", {})}
    config = tiny.run_config(Path("model"), pictures, data=data, **sections)
    recipe = Recipe()
    draws = StepRandomness(
        recipe, recipe.tables(), config.seed, config.train.batch_size * config.train.gradient_accumulation
    )
    result = Encoded(None)
    hook = components.vae.encoder.register_forward_pre_hook(lambda _, inputs: result.batches.append(len(inputs[0])))
    try:
        items, _ = load_items(config.data, config.seed)
        with tiny.messages() as result.messages:
            result.examples = encode_examples(config, components, draws, items, CPU)
    finally:
        hook.remove()
    return result


def save_mixed(folder: Path, sizes=SIZES, mode="RGB") -> Path:
    """Pictures of noise of several sizes, with captions."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for index, (width, height) in enumerate(sizes):
        pixels = rng.integers(0, 255, (height // 4 + 1, width // 4 + 1, len(mode)), dtype=np.uint8)
        Image.fromarray(pixels).resize((width, height)).save(folder / f"{index:02d}.png")
        (folder / f"{index:02d}.txt").write_text(f"picture {index}, colour")
    return folder


BUCKETS = {"resolution": 32, "buckets": True, "bucket_step": 8, "bucket_min": 16, "bucket_max": 64}


def encode_and_die(pictures: Path, folder: Path) -> None:
    """Encode into a cache folder, a shard for each image, in a process that is gone while it writes the fourth."""
    cache_files.SHARD_SECONDS = 0.0
    written: list[int] = []

    def die(handle: int, fsync: Callable[[int], None] = os.fsync) -> None:
        written.append(handle)
        if len(written) == 4:
            os._exit(9)
        fsync(handle)

    os.fsync = die
    encode(pictures, data={**BUCKETS, "cache": True, "cache_folder": str(folder), "vae_batch_size": 1})
