"""Train the small model's autoencoder on the shipped emoji and put it into the package.

    python scripts/train_autoencoder.py --state DIR [--steps N]     # resumes from DIR

Pictures of held-out concepts are never trained on; the reconstruction quality is reported on them.
The loss is the squared error plus a little absolute error and a tiny KL term; pictures are shifted,
mirrored and their colour channels permuted, so that the latents carry over to unseen styles.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from snrlab.data import emoji

TARGET = Path(__file__).parent.parent / "src" / "snrlab" / "models" / "small" / "vae"
BATCH, RATE, WARMUP, KL = 16, 2e-3, 100, 1e-6
SEED = 7


def pictures() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """(training pictures, held-out pictures by style), uint8 [N, 3, 64, 64]."""
    train, held_out = [], {}
    for style in emoji.drawn_styles():
        unseen = np.array([concept.held_out for concept in emoji.concepts(style)])
        images = torch.from_numpy(emoji.images(style).copy()).permute(0, 3, 1, 2)
        train.append(images[~unseen])
        held_out[style] = images[unseen]
    return torch.cat(train), held_out


def batch(train: torch.Tensor, step: int) -> torch.Tensor:
    """A batch that depends on the step alone: [B, 3, 64, 64] in -1..1."""
    rng = np.random.default_rng((SEED, step))
    images = []
    for index in rng.integers(len(train), size=BATCH):
        image = train[index]
        dy, dx = rng.integers(-8, 9, size=2)
        image = torch.nn.functional.pad(image, (8, 8, 8, 8), value=255)[:, 8 + dy : 72 + dy, 8 + dx : 72 + dx]
        image = image.flip(2) if rng.random() < 0.5 else image
        images.append(image[rng.permutation(3)] if rng.random() < 0.5 else image)
    return torch.stack(images).float() / 127.5 - 1


@torch.no_grad()
def psnr(vae: AutoencoderKL, images: torch.Tensor) -> float:
    """Peak signal-to-noise ratio of the reconstruction in dB, mean over pictures."""
    x = images.float() / 127.5 - 1
    y = vae.decode(vae.encode(x).latent_dist.mode()).sample.clamp(-1, 1)
    mse = ((x - y) / 2).square().flatten(1).mean(1)
    return float((-10 * mse.log10()).mean())


def train(state: Path, steps: int, shown: int | None = None) -> AutoencoderKL:
    """Train or go on from the last checkpoint in `state`; quality is shown on so many unseen pictures of each style."""
    data, held_out = pictures()
    torch.manual_seed(SEED)
    vae = AutoencoderKL.from_config(json.loads((TARGET / "config.json").read_text()))
    optimizer = torch.optim.AdamW(vae.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    file, start = state / "autoencoder.pt", 0
    if file.exists():
        saved = torch.load(file, weights_only=True)
        vae.load_state_dict(saved["weights"])
        optimizer.load_state_dict(saved["optimizer"])
        start = saved["step"]
    began = time.monotonic()
    for step in range(start, steps):
        rate = RATE * min((step + 1) / WARMUP, 0.5 * (1 + math.cos(math.pi * step / steps)))
        optimizer.param_groups[0]["lr"] = rate
        x = batch(data, step)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(x).latent_dist
            noise = torch.from_numpy(np.random.default_rng((SEED, step, 1)).standard_normal(posterior.mean.shape))
            y = vae.decode((posterior.mean + posterior.std * noise).to(x.dtype)).sample.float()
        error = x - y
        loss = error.square().mean() + 0.1 * error.abs().mean() + KL * posterior.kl().float().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 250 == 0 or step + 1 == steps:
            temporary = file.with_suffix(".tmp")
            torch.save({"weights": vae.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, temporary)
            temporary.replace(file)
            quality = "  ".join(f"{s} {psnr(vae, images[:shown]):.2f} dB" for s, images in held_out.items())
            print(f"step {step + 1}  {time.monotonic() - began:.0f} s  held out: {quality}", flush=True)
    return vae


@torch.no_grad()
def ship(vae: AutoencoderKL, target: Path, count: int | None = None) -> None:
    """Write the weights in fp16 and the latents' scale, measured on the base style or `count` pictures of it."""
    images = torch.from_numpy(emoji.images("noto")[:count].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = torch.cat([vae.encode(part).latent_dist.mode() for part in images.split(64)])
    config = json.loads((TARGET / "config.json").read_text())
    config["scaling_factor"] = round(1 / float(latents.std()), 5)
    target.mkdir(parents=True, exist_ok=True)
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {name: tensor.half().contiguous() for name, tensor in vae.state_dict().items()}
    save_file(weights, target / "diffusion_pytorch_model.safetensors")
    print(f"scaling_factor {config['scaling_factor']}, latent mean {float(latents.mean()):.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="folder for checkpoints, outside the tree")
    parser.add_argument("--steps", type=int, default=4000)
    arguments = parser.parse_args()
    arguments.state.mkdir(parents=True, exist_ok=True)
    ship(train(arguments.state, arguments.steps), TARGET)
