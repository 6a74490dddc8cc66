"""Find out which operations of a training step give the same bits again on this machine.

    python scripts/reproducibility.py            # about three minutes on two cores
    python scripts/reproducibility.py --speed    # also how fast matrix products and convolutions are, by setting

Each operation that a run uses, with the shapes of the small model, in fp32 and bf16, forward and backward, is computed

- with its operands, one at a time and all together, 4 to 60 bytes off a 64-byte boundary: does that change a bit?
- with one image instead of the batch: does the row of an image depend on its neighbours?
- in several processes, with one and with two threads;
- under settings of the environment: which digits does another instruction set change, and by how much?

Those that give other bits are listed with the largest difference, relative to the largest value of the result. A last
line says whether what the package sets (`snrlab.blas`) leaves anything that the place in memory changes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import snrlab  # noqa: F401  (sets how MKL rounds, as every entry of the package does)

BATCH, ALIGNED = 4, 64
OFFSETS = tuple(range(4, 64, 4))
UNSET: Mapping[str, str] = {"MKL_CBWR": ""}  # empty is no setting, and keeps the package from setting one
SETTINGS: dict[str, Mapping[str, str]] = {
    "torch alone": UNSET,
    "the package": {},
    "MKL_CBWR=COMPATIBLE": {"MKL_CBWR": "COMPATIBLE"},
    "MKL_ENABLE_INSTRUCTIONS=AVX2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "ONEDNN_MAX_CPU_ISA=AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "ATEN_CPU_CAPABILITY=avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "ATEN_CPU_CAPABILITY=default": {"ATEN_CPU_CAPABILITY": "default"},
}
THOROUGH = ("torch alone", "the package")  # with every offset, several processes and two threads
SHORT = {True: (), False: ("--dry-run",)}
Operation = tuple[Callable[..., Tensor], list[tuple[int, ...]], tuple[int, ...]]


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def operations() -> dict[str, Operation]:
    """By name: the function, the shapes of its operands, and which of them have the batch as their first axis."""
    return {
        "linear 64x112x112": (F.linear, [(BATCH, 64, 112), (112, 112), (112,)], (0,)),
        "linear 77x192x112": (F.linear, [(BATCH, 77, 192), (112, 192)], (0,)),
        "linear 1x64x256": (F.linear, [(BATCH, 64), (256, 64), (256,)], (0,)),
        "linear LoRA down 64x112x4": (F.linear, [(BATCH, 64, 112), (4, 112)], (0,)),
        "linear tiny 4x8x8": (F.linear, [(BATCH, 4, 8), (8, 8), (8,)], (0,)),
        "matmul 8x64x14": (torch.matmul, [(BATCH, 8, 64, 14), (BATCH, 8, 14, 64)], (0, 1)),
        "attention self, 64 tokens": (_attention, [(BATCH, 8, 64, 14)] * 3, (0, 1, 2)),
        "attention cross, 77 tokens": (_attention, [(BATCH, 8, 64, 14), *[(BATCH, 8, 77, 14)] * 2], (0, 1, 2)),
        "attention self, 1 token": (_attention, [(BATCH, 2, 1, 8)] * 3, (0, 1, 2)),
        "conv 3x3 64>64 at 16x16": (_conv(1, 1), [(BATCH, 64, 16, 16), (64, 64, 3, 3), (64,)], (0,)),
        "conv 3x3 4>64 at 16x16": (_conv(1, 1), [(BATCH, 4, 16, 16), (64, 4, 3, 3), (64,)], (0,)),
        "conv 3x3 stride 2 64>64": (_conv(2, 1), [(BATCH, 64, 16, 16), (64, 64, 3, 3), (64,)], (0,)),
        "conv 1x1 112>64 at 8x8": (_conv(1, 0), [(BATCH, 112, 8, 8), (64, 112, 1, 1), (64,)], (0,)),
        "conv 3x3 3>4 at 32x32 (tiny)": (_conv(1, 1), [(BATCH, 3, 32, 32), (4, 3, 3, 3), (4,)], (0,)),
        "conv 3x3 8>8 at 8x8 (tiny)": (_conv(1, 1), [(BATCH, 8, 8, 8), (8, 8, 3, 3), (8,)], (0,)),
        "group norm": (lambda x, w, b: F.group_norm(x, 16, w, b), [(BATCH, 64, 16, 16), (64,), (64,)], (0,)),
        "layer norm": (lambda x, w, b: F.layer_norm(x, (112,), w, b), [(BATCH, 64, 112), (112,), (112,)], (0,)),
        "softmax": (lambda x: F.softmax(x, -1), [(BATCH, 8, 64, 77)], (0,)),
        "silu": (F.silu, [(BATCH, 64, 15, 15)], (0,)),
        "gelu": (F.gelu, [(BATCH, 63, 449)], (0,)),
        "mean of squares": (lambda x: x.float().square().mean((1, 2, 3)), [(BATCH, 4, 15, 15)], (0,)),
        "norm": (lambda x: torch.linalg.vector_norm(x).reshape(1), [(BATCH, 64, 112)], ()),
    }


def _conv(stride: int, padding: int) -> Callable[..., Tensor]:
    def conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(x, weight, bias, stride, padding)

    return conv


def at(tensor: Tensor, offset: int) -> Tensor:
    """A copy that begins so many bytes after a 64-byte boundary."""
    size = tensor.element_size()
    room = torch.empty(tensor.numel() + 2 * ALIGNED // size, dtype=tensor.dtype)
    begin = (offset - room.data_ptr()) % ALIGNED // size
    return room[begin : begin + tensor.numel()].view(tensor.shape).copy_(tensor)


def computed(function: Callable[..., Tensor], operands: list[Tensor]) -> list[Tensor]:
    """The result and the gradients of its operands; the gradient that comes from above is the result's own sine."""
    leaves = [operand.detach().requires_grad_() for operand in operands]
    result = function(*leaves)
    return [result.detach(), *torch.autograd.grad(result, leaves, result.detach().sin())]


def difference(results: list[Tensor], others: list[Tensor]) -> float:
    """The largest difference between two computations relative to the largest value; 0 is equal to the bit."""
    pairs = [(a.double(), b.double()) for a, b in zip(results, others, strict=True)]
    return max(float((a - b).abs().max()) / (float(a.abs().max()) or 1.0) for a, b in pairs)


def _places(count: int, offsets: tuple[int, ...]) -> Iterator[list[int]]:
    for offset in offsets:
        yield [offset] * count
        if count > 1:
            yield from ([offset if i == moved else 0 for i in range(count)] for moved in range(count))


def measure(out: Path, offsets: tuple[int, ...]) -> None:
    """In a process of its own: each operation with aligned operands (kept in `out`), and what moves its bits."""
    report, kept = {}, {}
    for name, (function, shapes, batched) in operations().items():
        for dtype in (torch.float32, torch.bfloat16):
            generator = torch.Generator().manual_seed(1)
            drawn = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
            whole = computed(function, [at(d, 0) for d in drawn])
            moved = max(
                difference(whole, computed(function, [at(d, o) for d, o in zip(drawn, place, strict=True)]))
                for place in _places(len(drawn), offsets)
            )
            again = difference(whole, computed(function, [at(d, 0) for d in drawn]))
            alone = 0.0
            if batched:
                first = computed(function, [at(d[:1] if i in batched else d, 0) for i, d in enumerate(drawn)])
                rows = [0, *(i + 1 for i in batched)]  # of weights the gradient is a sum over the batch
                alone = difference([whole[i][:1] for i in rows], [first[i] for i in rows])
            key = f"{name} {str(dtype).removeprefix('torch.')}"
            report[key] = {"again": again, "place in memory": moved, "batch": alone}
            kept |= {f"{key}|{i}": tensor.float().numpy() for i, tensor in enumerate(whole)}
    np.savez(out / "results.npz", **kept)
    (out / "report.json").write_text(json.dumps(report))


def speed(out: Path, seconds: float) -> None:
    """In a process of its own: 10^9 operations a second of products and convolutions, forward and backward."""
    rates = {}
    for name, (function, shapes, _) in operations().items():
        if name.startswith(("linear", "conv", "matmul")):
            rates[name] = _rate(function, [torch.randn(shape) for shape in shapes], seconds)
    for side in (256, 1024):
        rates[f"matmul {side}x{side}x{side}"] = _rate(torch.matmul, [torch.randn(side, side)] * 2, seconds)
    (out / "speed.json").write_text(json.dumps(rates))


def _rate(function: Callable[..., Tensor], operands: list[Tensor], seconds: float) -> float:
    computed(function, operands)
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        begin = time.perf_counter()
        computed(function, operands)
        best = min(best, time.perf_counter() - begin)
    return 1 / best  # computations a second; the best is the one that nothing disturbed


def in_process(setting: Mapping[str, str], threads: int, out: Path, *words: str) -> Path:
    """Run this script as another process under a setting of the environment; where its results are."""
    out.mkdir(parents=True)
    threading = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}  # other work may share the cores
    environment = os.environ | threading | setting
    command = [sys.executable, __file__, "--in-process", str(out), *words]
    subprocess.run(command, check=True, env=environment)
    return out


def _load(folder: Path) -> dict[str, list[Tensor]]:
    by_name: dict[str, list[Tensor]] = {}
    with np.load(folder / "results.npz") as kept:
        for key in kept.files:
            by_name.setdefault(key.rpartition("|")[0], []).append(torch.from_numpy(kept[key]))
    return by_name


def _print_changed(title: str, changed: Mapping[str, float]) -> None:
    nonzero = {name: value for name, value in changed.items() if value}
    print(f"  {title}: {len(nonzero)} of {len(changed)} give other bits")
    for name, value in nonzero.items():
        print(f"    {name:44} {value:.1e}")


def compare(folder: Path, processes: int, words: list[str], names: list[str]) -> dict[str, dict[str, float]]:
    """Print what changes which bits; by setting, what the place in memory changes."""
    base: dict[str, list[Tensor]] | None = None
    by_place = {}
    for name in names:
        whole = name in THOROUGH
        repeats, threads = (processes, (1, 2)) if whole else (1, (1,))
        runs = [
            in_process(SETTINGS[name], count, folder / f"{names.index(name)}-{count}-{i}", *words, *SHORT[whole])
            for count in threads
            for i in range(repeats)
        ]
        print(name, flush=True)
        reports = [json.loads((run / "report.json").read_text()) for run in runs]
        for kind in ("again", "place in memory", "batch"):
            _print_changed(kind, {key: max(r[key][kind] for r in reports) for key in reports[0]})
        by_place[name] = {key: max(r[key]["place in memory"] for r in reports) for key in reports[0]}
        results = [_load(run) for run in runs]
        first = results[0]
        if whole:
            threaded = results[repeats]
            same = [(first, other) for other in results[:repeats]] + [(threaded, other) for other in results[repeats:]]
            _print_changed("process", {key: max(difference(a[key], b[key]) for a, b in same) for key in first})
            _print_changed("threads", {key: difference(first[key], threaded[key]) for key in first})
        base = base or first
        _print_changed(f"against {names[0]}", {key: difference(base[key], first[key]) for key in first})
    return by_place


def compare_speed(folder: Path, seconds: float) -> None:
    """Print how fast the settings of MKL are relative to torch alone, in computations a second."""
    for threads in (1, 2):
        rates = {}
        for name in ("torch alone", "the package", "MKL_CBWR=COMPATIBLE"):
            out = in_process(SETTINGS[name], threads, folder / f"speed-{name}-{threads}", "--speed", str(seconds))
            rates[name] = json.loads((out / "speed.json").read_text())
        print(f"computations a second, forward and backward, {threads} thread{'s'[: threads > 1]}: {', '.join(rates)}")
        for key, plain in rates["torch alone"].items():
            ratios = " ".join(f"{rate[key] / plain:6.2f}" for rate in rates.values())
            print(f"    {key:44} {plain:9.0f} {ratios}")


def main(words: list[str]) -> int:
    """Compare; 1 where the package's setting leaves an operation that the place in memory changes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=3, help="processes for each setting and number of threads")
    parser.add_argument("--speed", type=float, nargs="?", const=0.5, help="seconds for each operation that is timed")
    parser.add_argument("--dry-run", action="store_true", help="few offsets, two processes, only the package's setting")
    parser.add_argument("--in-process", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    offsets = (4, 32) if arguments.dry_run else OFFSETS
    if arguments.in_process:
        if arguments.speed:
            speed(arguments.in_process, arguments.speed)
        else:
            measure(arguments.in_process, offsets)
        return 0
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    names = ["the package"] if arguments.dry_run else list(SETTINGS)
    with TemporaryDirectory() as folder:
        processes = 2 if arguments.dry_run else arguments.processes
        by_place = compare(Path(folder), processes, ["--dry-run"] if arguments.dry_run else [], names)
        if arguments.speed:
            compare_speed(Path(folder), arguments.speed)
    left = [name for name, value in by_place["the package"].items() if value]
    named = ", ".join(left) or "none"
    print(f"the place in memory changes {len(left)} operations under the package's setting: {named}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
