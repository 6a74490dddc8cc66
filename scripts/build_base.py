"""Rebuild the small models: the autoencoder, then base and v-prediction twin by snrlab's own full-weights path.

    python scripts/build_base.py --state DIR            # resumes from DIR, which is outside the tree
    python scripts/build_base.py --state DIR --dry-run  # a few steps of every stage, shipped into DIR/models

Each stage checkpoints into DIR and is skipped once done. Averaged weights go into the package in fp16: the base
(src/snrlab/models/small) whole, the twin (small_v) as a UNet of its own beside links to the base's other files.
`scripts/build_card.py` then measures them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import shutil
import sys
from pathlib import Path

import torch

from snrlab.config import RunConfig, read_run
from snrlab.core.registries.registry import load_plugins
from snrlab.models.storage.save_folder import save_index, save_weights
from snrlab.models.storage.source import load_model
from snrlab.runs.folder import RunFolder
from snrlab.runs.logs import read_steps
from snrlab.train import runner

sys.path.insert(0, str(Path(__file__).parent))
import train_autoencoder

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "src" / "snrlab" / "models"
DRY = [
    "train.steps=4",
    "train.warmup=1",
    "train.batch_size=2",
    "data.limit=8",
    "sample.steps=2",
    "sample.every=0",
    "output.report=false",
    "output.model_card=false",
]


def autoencoder(state: Path, models: Path, *, dry: bool) -> None:
    """Train the autoencoder, unless its weights are in the package already."""
    target = models / "small" / "vae"
    if not dry and (target / "diffusion_pytorch_model.safetensors").exists():
        print("autoencoder: in the package already")
        return
    few = 4 if dry else None
    train_autoencoder.ship(train_autoencoder.train(state, 2 if dry else 4000, few), target, few)


def train(name: str, state: Path, *, dry: bool) -> tuple[RunFolder, RunConfig]:
    """Train as configs/<name>.toml says, or go on with it; the finished run."""
    outcome = runner.run(read_run(ROOT / "configs" / f"{name}.toml", DRY if dry else []), state, resume=True)
    if not outcome.finished:
        raise SystemExit("stopped; the same command goes on")
    return outcome.folder, outcome.config


def ship(folder: RunFolder, config: RunConfig, target: Path) -> None:
    """Put the weights of a run into the package in fp16, with a record of how they were trained.

    The architecture's configs are there beforehand, and links to the files that the twin shares with the base.
    """
    model = load_model(folder.result(config))
    for part in ("unet",) if target.name == "small_v" else ("unet", "text_encoder"):
        save_weights(model, part, target, torch.float16)
    save_index(model, target)
    seconds = [record["seconds"] for record in read_steps(folder.steps_file)]
    record = {
        "config": f"configs/{config.name}.toml",
        "seed": config.seed,
        "steps": config.train.steps,
        "minutes": round(sum(seconds) / 60, 1),
        "machine": f"{os.cpu_count()} cores of {platform.machine()}"
        if not torch.cuda.is_available()
        else torch.cuda.get_device_name(),
    }
    (target / "training.json").write_text(json.dumps(record, indent=2) + "\n")


def sizes(models: Path) -> None:
    """Print the size of each weight file that ships, and of all together."""
    files = [f for f in sorted(models.glob("small*/*/*.safetensors")) if not f.is_symlink()]
    for file in files:
        print(f"{file.relative_to(models)}  {file.stat().st_size / 2**20:.1f} MiB")
    print(f"together {sum(f.stat().st_size for f in files) / 1e6:.1f} MB")


def main(words: list[str]) -> None:
    """Train what is not there yet and put it into the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="folder for checkpoints, outside the tree")
    parser.add_argument("--dry-run", action="store_true", help="a few steps of every stage")
    parser.add_argument("--only", choices=("base", "twin"), help="one stage")
    arguments = parser.parse_args(words)
    load_plugins()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    state, dry = arguments.state, arguments.dry_run
    stages = [arguments.only] if arguments.only else ["base", "twin"]
    state.mkdir(parents=True, exist_ok=True)
    models = shutil.copytree(MODELS, state / "models", symlinks=True, dirs_exist_ok=True) if dry else MODELS
    if not arguments.only:
        autoencoder(state, models, dry=dry)
    for stage in stages:
        ship(*train(stage, state, dry=dry), models / ("small" if stage == "base" else "small_v"))
    sizes(models)


if __name__ == "__main__":
    main(sys.argv[1:])
