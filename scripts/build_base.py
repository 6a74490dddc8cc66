"""Rebuild the small base: autoencoder, then text encoder and UNet by snrlab's own full-weights path.

    python scripts/build_base.py --state DIR            # resumes from DIR, which is outside the tree
    python scripts/build_base.py --state DIR --dry-run  # a few steps of every stage, nothing put into the package

Each stage checkpoints into DIR and is skipped once done; the last puts the averaged weights, in fp16, beside the
architecture in src/snrlab/models/small.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from snrlab.config import read
from snrlab.core.registry import load_plugins
from snrlab.models import components
from snrlab.train import runner

sys.path.insert(0, str(Path(__file__).parent))
import train_autoencoder

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "snrlab" / "models" / "small"
DRY = [
    "train.steps=4",
    "train.warmup_steps=1",
    "train.batch_size=2",
    "data.limit=8",
    "sample.steps=2",
    "sample.every=0",
]


def autoencoder(state: Path, steps: int, *, ship: bool) -> None:
    """Train the autoencoder, unless its weights are in the package already."""
    if ship and (PACKAGE / "vae" / "diffusion_pytorch_model.safetensors").exists():
        print("autoencoder: in the package already")
        return
    trained = train_autoencoder.train(state, steps)
    if ship:
        train_autoencoder.ship(trained)


def base(state: Path, *, dry: bool) -> Path:
    """Train text encoder and UNet as configs/base.toml says; the folder of the result."""
    config = read(ROOT / "configs" / "base.toml", DRY if dry else [])
    outcome = runner.run(config, state, resume=True)
    if not outcome.finished:
        raise SystemExit("stopped; the same command goes on")
    return outcome.folder.result(outcome.config)


def ship(result: Path) -> None:
    """Put the weights into the package in fp16; the configs there stay as they are."""
    model = components.load(result)
    components.save(model, PACKAGE, torch.float16)
    index = json.loads((PACKAGE / "model_index.json").read_text())
    (PACKAGE / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    for file in sorted(PACKAGE.rglob("*.safetensors")):
        print(f"{file.relative_to(ROOT)}  {file.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="folder for checkpoints, outside the tree")
    parser.add_argument("--dry-run", action="store_true", help="a few steps of every stage")
    arguments = parser.parse_args()
    load_plugins()
    arguments.state.mkdir(parents=True, exist_ok=True)
    autoencoder(arguments.state, 2 if arguments.dry_run else 4000, ship=not arguments.dry_run)
    finished = base(arguments.state, dry=arguments.dry_run)
    if not arguments.dry_run:
        ship(finished)
