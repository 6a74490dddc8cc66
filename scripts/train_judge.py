"""Train the style classifier (judge.safetensors) on the shipped emoji and put it into the package.

    python scripts/train_judge.py [--steps N] [--target DIR]      # a few minutes on two cores

One concept in two styles must lie closer than other concepts (a contrastive loss across styles), and the style
must be readable. Pictures are shifted, scaled, mirrored, tinted and blurred, so that what counts is the drawing and
not its sharpness. Reported on the held-out concepts: does the nearest picture of another style show the same thing?
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from snrlab.data import emoji
from snrlab.evaluate import style_classifier as package
from snrlab.evaluate.style_classifier import StyleClassifier, feature_views

TARGET = Path(package.__file__).parent
SEED, BATCH, RATE, TEMPERATURE = 11, 96, 2e-3, 0.07


def pictures() -> tuple[dict[str, Tensor], list[str]]:
    """Pictures by style, uint8 [N, 3, 64, 64] in the order of the concepts that every style has; and their codes."""
    codes = {style: {c.code: i for i, c in enumerate(emoji.concepts(style))} for style in emoji.drawn_styles()}
    shared = [c for c in codes["noto"] if all(c in rows for rows in codes.values())]
    return {
        style: torch.from_numpy(emoji.images(style)[[codes[style][c] for c in shared]]).permute(0, 3, 1, 2)
        for style in codes
    }, shared


def augment(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Each picture moved, scaled, mirrored, tinted, blurred a little: [N, 3, 64, 64] in 0..1."""
    n = len(images)
    x = images.float() / 255
    theta = torch.zeros(n, 2, 3)
    scale = torch.tensor(rng.uniform(0.8, 1.25, n), dtype=torch.float32)
    mirror = torch.tensor(np.where(rng.random(n) < 0.5, -1, 1), dtype=torch.float32)
    theta[:, 0, 0], theta[:, 1, 1] = scale * mirror, scale
    theta[:, :, 2] = torch.tensor(rng.uniform(-0.2, 0.2, (n, 2)), dtype=torch.float32)
    x = 1 - functional.grid_sample(1 - x, functional.affine_grid(theta, list(x.shape), align_corners=False),
                                   align_corners=False)  # fmt: skip
    tint = torch.tensor(rng.uniform(0.8, 1.1, (n, 3, 1, 1)), dtype=torch.float32)
    x = 1 - (1 - x) * tint
    soft = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    blurred = torch.tensor(rng.random((n, 1, 1, 1)) < 0.4)
    noise = torch.tensor(rng.normal(0, 0.02, x.shape), dtype=torch.float32)
    return (torch.where(blurred, soft, x) + noise).clamp(0, 1)


def retrieval(classifier: StyleClassifier, by_style: dict[str, Tensor], rows: Tensor) -> dict[str, float]:
    """Top-1 retrieval among these concepts from one style to another, both ways averaged."""
    content = {s: feature_views(classifier, x[rows].permute(0, 2, 3, 1)).content for s, x in by_style.items()}
    scores = {}
    for a, b in (("noto", "fluent_3d"), ("noto", "ink"), ("fluent_3d", "ink")):
        match = content[a] @ content[b].T
        matching = torch.arange(len(rows))
        scores[f"{a}-{b}"] = float(
            ((match.argmax(0) == matching).float().mean() + (match.argmax(1) == matching).float().mean()) / 2
        )
    return scores


def train(steps: int) -> StyleClassifier:
    """Train from scratch; every number follows from the seed."""
    by_style, codes = pictures()
    held = {c.code for c in emoji.concepts("noto") if c.held_out}
    known = torch.tensor([i for i, c in enumerate(codes) if c not in held])
    unseen = torch.tensor([i for i, c in enumerate(codes) if c in held])
    styles = list(by_style)
    torch.manual_seed(SEED)
    classifier = StyleClassifier(len(styles))
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=RATE, weight_decay=0.05)
    for step in range(steps):
        rng = np.random.default_rng((SEED, step))
        optimizer.param_groups[0]["lr"] = RATE * min((step + 1) / 100, 0.5 * (1 + math.cos(math.pi * step / steps)))
        rows = known[torch.from_numpy(rng.permutation(len(known))[:BATCH])]
        pair = rng.permutation(len(styles))[:2]
        views = [classifier(augment(by_style[styles[s]][rows], rng)) for s in pair]
        match = views[0].content @ views[1].content.T / TEMPERATURE
        matching = torch.arange(BATCH)
        loss = functional.cross_entropy(match, matching) + functional.cross_entropy(match.T, matching)
        for s, seen in zip(pair, views, strict=True):
            loss = loss + 0.3 * functional.cross_entropy(seen.style, torch.full((BATCH,), int(s)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 250 == 0 or step + 1 == steps:
            classifier.eval()
            shown = "  ".join(f"{k} {v:.1%}" for k, v in retrieval(classifier, by_style, unseen).items())
            print(f"step {step + 1}  loss {float(loss):.3f}  unseen concepts ({len(unseen)}): {shown}", flush=True)
            classifier.train()
    return classifier.eval()


def style_weight(classifier: StyleClassifier) -> float:
    """How much a wrong style must count so that it is as far away as a wrong thing, on true unseen pictures."""
    by_style, codes = pictures()
    held = {c.code for c in emoji.concepts("noto") if c.held_out}
    rows = torch.tensor([i for i, c in enumerate(codes) if c in held])
    content = [feature_views(classifier, x[rows].permute(0, 2, 3, 1)).content for x in by_style.values()]
    apart = ~torch.eye(len(rows), dtype=torch.bool)
    other_thing = np.mean([float((1 - c @ c.T)[apart].mean()) for c in content])
    other_style = np.mean([float((1 - (a * b).sum(1)).mean()) for a in content for b in content if a is not b])
    return round(float(other_thing - other_style), 3)


def ship(classifier: StyleClassifier, target: Path) -> None:
    """Write the weights in fp16, the styles' names and the weight of style in distances."""
    target.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in classifier.state_dict().items()}, target / "judge.safetensors")
    config = {"styles": list(emoji.drawn_styles()), "style_weight": style_weight(classifier)}
    (target / "config.json").write_text(json.dumps(config) + "\n")
    print(f"{sum(p.numel() for p in classifier.parameters())} parameters")


def main(words: list[str]) -> None:
    """Train and ship."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--target", type=Path, default=TARGET, help="folder to write to (default: the package's)")
    arguments = parser.parse_args(words)
    ship(train(arguments.steps), arguments.target)


if __name__ == "__main__":
    main(sys.argv[1:])
