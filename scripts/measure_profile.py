"""Measure how loss and gradient of the shipped base depend on the noise level, for the lab's shares.

    python scripts/measure_profile.py        # about a minute on two cores

For levels spread over the schedule: the unweighted epsilon error of the base on pictures of its own style, and the
squared norm of the gradient of one picture's epsilon loss over all weights of the UNet (mean over pictures). The lab
turns them into shares of loss and of gradient energy of any recipe; `snrlab.lab.profile` reads the result.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from snrlab.core.random_streams import stream
from snrlab.core.schedule import SCHEDULES
from snrlab.data import emoji
from snrlab.models.encoding.encode import encode_captions, encode_pixels
from snrlab.models.storage.source import shipped

TARGET = Path(__file__).parent.parent / "src" / "snrlab" / "lab" / "assets" / "profile.json"
LEVELS, PICTURES, SEED = 32, 32, 17


def levels(count: int) -> np.ndarray:
    """Timesteps about evenly spaced in log-SNR, ends included."""
    log_snr = SCHEDULES.bind("sd")().log_snr
    wanted = np.linspace(log_snr[0], log_snr[-1], count)
    return np.unique([int(np.abs(log_snr - value).argmin()) for value in wanted])


def measure(count: int, pictures: int) -> dict[str, object]:
    """The profile as plain data."""
    model, schedule = shipped("small"), SCHEDULES.bind("sd")()
    concepts = [i for i, c in enumerate(emoji.concepts("noto")) if not c.held_out]
    rows = np.sort(np.random.default_rng(SEED).permutation(concepts)[:pictures])
    latents = encode_pixels(model, emoji.images("noto")[rows], torch.device("cpu"))
    text = encode_captions(model, [emoji.concepts("noto")[i].caption for i in rows])
    model.freeze()
    weights = list(model.unet.requires_grad_(True).parameters())
    errors, energies, steps = [], [], levels(count)
    for t in steps:
        alpha, sigma = float(schedule.alpha[t]), float(schedule.sigma[t])
        samples = []
        for i in range(len(rows)):
            rng = stream(SEED, "validation", int(t), i)
            eps = torch.from_numpy(rng.standard_normal(latents[i : i + 1].shape, dtype=np.float32))
            x_t = alpha * latents[i : i + 1] + sigma * eps
            output = model.unet(x_t, torch.tensor([int(t)]), encoder_hidden_states=text[[i]].hidden).sample
            loss = (output - eps).square().mean()
            gradients = torch.autograd.grad(loss, weights)
            samples.append((float(loss.detach()), sum(float(g.square().sum()) for g in gradients)))
        error, energy = np.mean(samples, axis=0)
        errors.append(float(f"{error:.5g}"))
        energies.append(float(f"{energy:.5g}"))
        print(f"t {t:3d}  epsilon error {error:.4g}  gradient energy {energy:.4g}", flush=True)
    return {
        "of": "the shipped base (snrlab-small) on Noto emoji",
        "pictures": pictures,
        "t": [int(t) for t in steps],
        "log_snr": [float(f"{schedule.log_snr[t]:.6g}") for t in steps],
        "epsilon_error": errors,
        "gradient_energy": energies,
    }


def main(words: list[str]) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", type=int, default=LEVELS)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--out", type=Path, default=TARGET)
    arguments = parser.parse_args(words)
    arguments.out.write_text(json.dumps(measure(arguments.levels, arguments.pictures)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
