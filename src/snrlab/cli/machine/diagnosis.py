"""What is right and wrong with this machine and installation; each check says what it found and what to do."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from snrlab.cli.machine.graphics_card import Card, find_cards, install_line

State = Literal["ok", "warning", "problem"]
GIB = 2**30
LITTLE, VERY_LITTLE = 10 * GIB, 1 * GIB  # free disk
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
TRAINING = "import peft, torch; from diffusers import UNet2DConditionModel; from transformers import CLIPTextModel"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what, in a word.
        state: ok, warning, or problem: training cannot work, or not as it should.
        found: what is the case.
        action: what to do about it; empty where nothing is wrong.
    """

    name: str
    state: State
    found: str
    action: str = ""


def diagnose(out: Path) -> list[Check]:
    """Every check; `out` is the folder that runs would go into."""
    parts = (_python(), _packages(), _imports(), _cards(), _disk(out), _machine(), _offline())
    return [check for part in parts for check in part]


def _python() -> Iterator[Check]:
    yield Check("snrlab", "ok", metadata.version("snrlab"))
    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages() -> Iterator[Check]:
    """The packages that snrlab declares, and whether they are new enough; those of an extra in one line."""
    extras: dict[str, list[str]] = {}
    for text in metadata.requires("snrlab") or []:
        requirement = Requirement(text)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", text)
        version = _version(requirement.name)
        if extra is not None and extra[1] != "train":
            if extra[1] != "dev" and version is not None:
                extras.setdefault(extra[1], []).append(f"{requirement.name} {version}")
            continue
        needs = f"{requirement.name}{requirement.specifier}"
        if version is None:
            yield Check(requirement.name, "problem", "not installed", 'pip install "snrlab[train]"')
        elif requirement.specifier.contains(version, prereleases=True):
            yield Check(requirement.name, "ok", version)
        else:
            yield Check(requirement.name, "problem", f"{version}; snrlab needs {needs}", f'pip install "{needs}"')
    shown = [f"{name} ({', '.join(packages)})" for name, packages in extras.items()]
    yield Check("extras", "ok", ", ".join(shown) or "none installed, none needed")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _imports() -> Iterator[Check]:
    """Whether the training libraries load at all, tried in a process of its own."""
    if importlib.util.find_spec("torchvision") is not None:
        fault = _fault("import torchvision")
        if fault:
            yield Check(
                "torchvision",
                "problem",
                f"installed, but it does not load beside this torch ({fault}); transformers and diffusers trip over it",
                "pip uninstall torchvision (snrlab does not need it)",
            )
        else:
            yield Check("torchvision", "ok", "installed and loads; snrlab does not need it")
    if importlib.util.find_spec("torch") is None:
        return
    fault = _fault(TRAINING)
    if fault:
        yield Check("training libraries", "problem", f"they do not load: {fault}", 'pip install -U "snrlab[train]"')
    else:
        yield Check("training libraries", "ok", "torch, diffusers, transformers and peft load")


def _cards() -> Iterator[Check]:
    cards = find_cards()
    for card in cards:
        facts = [card.name, f"{card.memory_gb:g} GB" if card.memory_gb else "", f"driver {card.driver or 'unknown'}"]
        yield Check("graphics card", "ok", ", ".join(filter(None, facts)))
    if not cards:
        yield Check("graphics card", "ok", "no NVIDIA card found; training runs on the processor, which is slow")
    if importlib.util.find_spec("torch") is not None:
        yield _torch_build(cards)


def _torch_build(cards: list[Card]) -> Check:
    try:
        import torch
    except Exception as reason:
        return Check("torch build", "problem", f"torch does not load: {_line(str(reason))}", install_line(cards))
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
    if not torch.version.cuda and not torch.version.hip:
        if cards:
            found = "this torch is built for the processor alone, beside a graphics card"
            return Check("torch build", "problem", found, install_line(cards))
        return Check("torch build", "ok", "for the processor")
    if not torch.cuda.is_available():
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        if cards and hidden is not None and hidden.strip() in ("", "-1"):
            return Check(
                "torch build",
                "problem",
                f"built for {build}, but CUDA_VISIBLE_DEVICES={hidden!r} hides the card",
                "unset CUDA_VISIBLE_DEVICES",
            )
        if cards:
            found = f"built for {build}, but it cannot use the card; most often the driver is too old"
            return Check("torch build", "problem", found, f"update the NVIDIA driver, or: {install_line(cards)}")
        return Check(
            "torch build", "warning", f"built for {build}, but there is no card; training runs on the processor"
        )
    lacking = _card_without_kernels(torch.cuda)
    if lacking:
        return Check("torch build", "problem", f"built for {build}, without code for {lacking}", install_line(cards))
    return Check("torch build", "ok", f"{build}, {torch.cuda.device_count()} card(s) usable")


def _card_without_kernels(cuda: Any) -> str | None:
    """The first card that this torch has no code for, which shows only in the middle of the first step."""
    native = [_capability(arch) for arch in cuda.get_arch_list() if arch.startswith("sm_")]
    portable = [_capability(arch) for arch in cuda.get_arch_list() if arch.startswith("compute_")]
    for index in range(cuda.device_count() if native else 0):
        major, minor = cuda.get_device_capability(index)
        runs = any(m == major and n <= minor for m, n in native) or any(have <= (major, minor) for have in portable)
        if not runs:
            return f"{cuda.get_device_name(index)} (compute capability {major}.{minor})"
    return None


def _capability(arch: str) -> tuple[int, int]:
    """Major and minor of `sm_86` or `compute_120`."""
    digits = re.sub(r"\D", "", arch)
    return int(digits[:-1]), int(digits[-1])


def _disk(out: Path) -> Iterator[Check]:
    nearest = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(nearest).free
    state: State = "problem" if free < VERY_LITTLE else "warning" if free < LITTLE else "ok"
    action = "" if state == "ok" else "make room, or choose another folder with --out"
    yield Check("disk", state, f"{free / GIB:.1f} GB free for {out.name}/", action)
    try:
        with tempfile.TemporaryFile(dir=nearest):
            yield Check("write permission", "ok", f"{out.name}/ can be written")
    except OSError as reason:
        found = f"{out.name}/ cannot be written ({reason.strerror})"
        yield Check("write permission", "problem", found, "choose another folder with --out")


def _machine() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > cores:
        found = f"OMP_NUM_THREADS is {asked} on {cores} cores: threads would wait for each other"
        yield Check("threads", "warning", found, f"set OMP_NUM_THREADS={cores}, or unset it")
    else:
        yield Check("threads", "ok", f"{cores} cores" + (f", OMP_NUM_THREADS={asked}" if asked else ""))
    if importlib.util.find_spec("psutil") is not None:
        import psutil

        memory = psutil.virtual_memory()
        yield Check("memory", "ok", f"{memory.total / GIB:.1f} GB, {memory.available / GIB:.1f} GB available")


def _offline() -> Iterator[Check]:
    flags = [f"{name}={os.environ[name]}" for name in OFFLINE if name in os.environ]
    yield Check("offline flags", "ok", (", ".join(flags) or "none set") + "; snrlab downloads nothing either way")


def _fault(code: str) -> str:
    """What goes wrong when Python runs this, in one line; empty where nothing does."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, errors="replace", timeout=300, env=environment
        )
    except subprocess.TimeoutExpired:
        return "it takes longer than five minutes"
    if done.returncode == 0:
        return ""
    return _line(done.stderr) or f"the process ended with code {done.returncode}"


def _line(text: str) -> str:
    """The last line of a message, without the folders of this machine."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"[^\s'\"]*[/\\]", "", lines[-1])[:300] if lines else ""
