"""Train and convert models of full size: random weights in bf16, built from the shipped configs, as single files.

python scripts/full_size.py --state DIR              # all jobs; DIR holds 20 GB of models and is kept
python scripts/full_size.py --state DIR sd1-lora     # some of them

Each job is a process of its own, which tells its peak memory. A training job is `snrlab train` itself, watched: the
loss of its first batch must fall, every trained tensor must change and no frozen one may.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import tomlkit
import torch
from PIL import Image
from torch import Tensor

from snrlab.core.registries.registry import load_plugins
from snrlab.model_files import families
from snrlab.model_files.families import Family
from snrlab.model_files.header import read_header
from snrlab.models.layouts.original_layout import layout
from snrlab.models.layouts.tensor_layout import StoredTensor
from snrlab.models.networks import empty_network
from snrlab.models.storage.safetensors_file import PendingTensor, write_tensors

SEED = 0
LIMIT = 20 * 2**30  # bytes of memory that a job may take
ROOT = Path(__file__).parent.parent
# at 128 pixels the lowest level of a UNet has more than one position: over one alone, attention has no gradient
SMALL = {
    "data": {"resolution": 128}, "model": {"precision": "bf16"},
    "output": {"dates": False, "precision": "bf16", "report": False, "model_card": False},
}  # fmt: skip
LORA = SMALL | {"train": {"steps": 5, "batch_size": 2, "learning_rate": 2e-3}, "lora": {"rank": 4}}
FULL = {
    "method": "full", "steps": 3, "batch_size": 2, "learning_rate": 1e-4, "optimizer": "adafactor",
    "fused_backward": True, "max_grad_norm": 0.0, "lr_schedule": "constant",
}  # fmt: skip
TRAINING: dict[str, tuple[Family, dict[str, Any]]] = {
    "sd1-lora": ("sd1", LORA),
    "sdxl-lora": ("sdxl", LORA),
    "sd1-full": ("sd1", SMALL | {"train": FULL}),
}
ROUND_TRIPS: dict[str, Family] = {"sd1-convert": "sd1", "sd2-convert": "sd2", "sdxl-convert": "sdxl"}


def build(family: Family, path: Path) -> None:
    """Write a model with random weights that keep activations finite; the same bytes each time."""
    if path.exists():
        return
    pending = []
    for part in families.PARTS[family]:
        config = families.config(family, part)
        shapes = empty_network(part, config).state_dict()
        for entry in layout(part, shapes, config, family):
            shape = tuple(entry.join(shapes).shape)
            pending.append(PendingTensor(entry.name, shape, torch.bfloat16, partial(_drawn, entry, shapes)))
    write_tensors(path, pending, {"modelspec.prediction_type": "epsilon"})


def _drawn(entry: StoredTensor, shapes: dict[str, Tensor]) -> Tensor:
    """Weights as torch would draw them: variance 1 / (3 fan-in); norms are 1, biases 0."""
    number = int.from_bytes(hashlib.sha256(f"{SEED} {entry.name}".encode()).digest()[:7], "big")
    generator = torch.Generator().manual_seed(number)
    parts = {}
    for name in entry.parts:
        shape = shapes[name].shape
        if len(shape) > 1:
            scale = 0.02 if "embedding.weight" in name else (3 * shape[1:].numel()) ** -0.5
            parts[name] = torch.randn(shape, generator=generator).mul_(scale)
        else:
            parts[name] = torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
    return entry.join(parts)


def train(name: str, state: Path) -> dict[str, Any]:
    """`snrlab train` on a full-size model, watched."""
    from snrlab.cli.messages import install_log_handler
    from snrlab.cli.training.train import run_training
    from snrlab.config import read_run
    from snrlab.train import runner

    install_log_handler()

    family, sections = TRAINING[name]
    model = state / f"{family}.safetensors"
    build(family, model)
    run = {"name": name, "seed": SEED} | json.loads(json.dumps(sections))
    run["model"]["path"], run["data"]["folder"] = str(model), str(_pictures(state))
    file = state / f"{name}.toml"
    file.write_text(tomlkit.dumps(run))
    shutil.rmtree(state / "runs" / name, ignore_errors=True)
    watched: list[Watched] = []
    prepare = runner.prepare

    def prepare_and_watch(*args: Any, **kwargs: Any) -> Any:
        job = prepare(*args, **kwargs)
        watched.append(Watched(job))
        return job

    runner.prepare = prepare_and_watch  # type: ignore[assignment]  # nothing but a look at the job
    outcome = run_training(read_run(file), state / "runs")
    if not outcome.finished:
        raise SystemExit(f"{name} was stopped")
    comparison = watched[0].compare()
    size = outcome.folder.result(outcome.config).stat().st_size
    shutil.rmtree(outcome.folder.checkpoints)
    return comparison | {"result_mb": round(size / 1e6, 1)}


class Watched:
    """A job before its first step: the loss of its first batch, and a digest of every tensor in memory."""

    def __init__(self, job: Any) -> None:
        """Look at it."""
        self.job = job
        self.loss = self._loss()
        self.digests = self._digests()

    def compare(self) -> dict[str, Any]:
        """What the steps changed (SystemExit where it is not what it should be)."""
        loss, digests = self._loss(), self._digests()
        trained = set(self.job.parameters)
        still = sorted(n for n in trained if digests[n] == self.digests[n])
        moved = sorted(n for n in digests if n not in trained and digests[n] != self.digests[n])
        if still or moved or not loss < self.loss:
            raise SystemExit(
                f"loss {self.loss} to {loss}; trained but the same: {still[:5]}; frozen but not: {moved[:5]}"
            )
        return {
            "loss_before": round(self.loss, 6),
            "loss_after": round(loss, 6),
            "tensors_trained": len(trained),
            "tensors_frozen": len(digests) - len(trained),
        }

    @torch.no_grad()
    def _loss(self) -> float:
        from snrlab.models.denoise import denoise

        job = self.job
        slots = np.arange(job.config.train.batch_size)
        batch = job.examples.batch(job.components, 0, slots, job.device)
        model = partial(denoise, job.components, text=batch.text, sizes=batch.sizes)
        return float(job.objective.losses(model, batch, 0, slots).mse.mean())

    def _digests(self) -> dict[str, bytes]:
        """By name, of all weights that are in memory: what is not needed any more is gone from it."""
        return {
            f"{part}.{name}": hashlib.sha256(p.detach().contiguous().flatten().view(torch.uint8).numpy()).digest()
            for part, network in self.job.components.networks.items()
            for name, p in network.named_parameters()
            if p.device.type != "meta"
        }


def _pictures(state: Path) -> Path:
    folder = state / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for index, colour in enumerate(((200, 40, 40), (40, 60, 200))):
        pixels = np.full((128, 128, 3), 255, dtype=np.uint8)
        pixels[32:96, 24:104] = colour
        Image.fromarray(pixels).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"a rectangle, number {index}")
    return folder


def round_trip(name: str, state: Path) -> dict[str, Any]:
    """File to folder to file, by `snrlab convert`'s own code: every byte of every tensor must be there again."""
    from snrlab.models.storage.convert import convert_model

    family = ROUND_TRIPS[name]
    source, folder, back = (state / f"{family}{end}" for end in (".safetensors", "-folder", "-back.safetensors"))
    build(family, source)
    shutil.rmtree(folder, ignore_errors=True)
    convert_model(source, folder)
    convert_model(folder, back)
    one, other = read_header(source), read_header(back)
    if one.shapes != other.shapes or one.formats != other.formats or not _same_data(source, back):
        raise SystemExit(f"{name}: the file is not the same")
    shutil.rmtree(folder)
    back.unlink()
    return {"tensors_equal": len(one.shapes), "file_gb": round(source.stat().st_size / 1e9, 2)}


def _same_data(one: Path, other: Path, chunk: int = 2**24) -> bool:
    with one.open("rb") as a, other.open("rb") as b:
        for file in (a, b):
            file.seek(int.from_bytes(file.read(8), "little"), os.SEEK_CUR)
        while True:
            x, y = a.read(chunk), b.read(chunk)
            if x != y:
                return False
            if not x:
                return True


def main(words: list[str]) -> None:
    """Run the jobs one after the other and write the log."""
    jobs: dict[str, Callable[[str, Path], dict[str, Any]]] = dict.fromkeys(ROUND_TRIPS, round_trip)
    jobs |= dict.fromkeys(TRAINING, train)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=f"all, or some of {', '.join(jobs)}")
    parser.add_argument("--state", type=Path, required=True, help="folder for models and runs, outside the tree")
    parser.add_argument("--log", type=Path, help="file to write what was found to")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if unknown := set(asked.jobs) - set(jobs):
        parser.error(f"no such job: {', '.join(unknown)}")
    asked.state.mkdir(parents=True, exist_ok=True)
    if asked.inside:
        load_plugins()
        result = jobs[asked.jobs[0]](asked.jobs[0], asked.state)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if peak > LIMIT:
            raise SystemExit(f"{asked.jobs[0]}: {peak / 2**30:.1f} GiB of memory, more than {LIMIT / 2**30:.0f}")
        print(json.dumps(result | {"peak_gib": round(peak / 2**30, 2)}))
        return
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    lines = [
        " ".join(["$ python scripts/full_size.py --state DIR", *asked.jobs]),
        f"seed {SEED}; {os.cpu_count()} {platform.machine()} cores, {memory:.0f} GiB, {platform.system()}; "
        f"Python {platform.python_version()}, torch {torch.__version__}",
    ]
    print("\n".join(lines), flush=True)
    for name in asked.jobs or jobs:
        begun = time.monotonic()
        command = [sys.executable, __file__, "--state", asked.state, "--inside", name]
        done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"{name} failed with {done.returncode}")
        result = json.loads(done.stdout.splitlines()[-1]) | {"seconds": round(time.monotonic() - begun)}
        lines.append(f"{name}: " + ", ".join(f"{key} {value}" for key, value in result.items()))
        print(lines[-1], flush=True)
    if asked.log:
        asked.log.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
