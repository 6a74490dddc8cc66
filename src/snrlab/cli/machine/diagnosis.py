"""Checks of this machine and installation; each has a result and, where something is wrong, an action."""

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
from snrlab.installation import install_command

State = Literal["ok", "warning", "problem"]
GIB = 2**30
LOW_DISK, CRITICAL_DISK = 10 * GIB, 1 * GIB  # free disk
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
TRAINING = "import peft, torch; from diffusers import UNet2DConditionModel; from transformers import CLIPTextModel"


@dataclass(frozen=True)
class Check:
    """A check with its result.

    Attributes:
        name: subject of the check, in a word or two.
        state: ok, warning, or problem (training cannot work, or not as it should).
        result: the state of things, in words.
        action: what to do about it; empty if nothing is wrong.
    """

    name: str
    state: State
    result: str
    action: str = ""


def diagnose(out: Path) -> list[Check]:
    """Run every check; `out` is the folder in which runs would be created."""
    parts = (
        _check_python(),
        _check_packages(),
        _check_imports(),
        _check_cards(),
        _check_disk(out),
        _check_machine(),
        _check_offline(),
    )
    return [check for part in parts for check in part]


def _check_python() -> Iterator[Check]:
    yield Check("snrlab", "ok", metadata.version("snrlab"))
    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _check_packages() -> Iterator[Check]:
    """Whether the packages that snrlab requires are installed and new enough; extras are listed in one line."""
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
            yield Check(requirement.name, "problem", "not installed", install_command("train"))
        elif requirement.specifier.contains(version, prereleases=True):
            yield Check(requirement.name, "ok", version)
        else:
            yield Check(requirement.name, "problem", f"{version}; snrlab needs {needs}", f'pip install "{needs}"')
    listed = [f"{name} ({', '.join(packages)})" for name, packages in extras.items()]
    yield Check("extras", "ok", ", ".join(listed) or "none installed, none needed")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _check_imports() -> Iterator[Check]:
    """Whether the training libraries load, tried in a separate process."""
    if importlib.util.find_spec("torchvision") is not None:
        failure = _failure_of("import torchvision")
        if failure:
            yield Check(
                "torchvision",
                "problem",
                f"installed, but it does not load with this torch ({failure}); transformers and diffusers fail over it",
                "pip uninstall torchvision (snrlab does not need it)",
            )
        else:
            yield Check("torchvision", "ok", "installed and loads; snrlab does not need it")
    if importlib.util.find_spec("torch") is None:
        return
    failure = _failure_of(TRAINING)
    if failure:
        yield Check(
            "training libraries",
            "problem",
            f"they do not load: {failure}",
            install_command("train", upgrade=True),
        )
    else:
        yield Check("training libraries", "ok", "torch, diffusers, transformers and peft load")


def _check_cards() -> Iterator[Check]:
    cards = find_cards()
    for card in cards:
        facts = [card.name, f"{card.memory_gb:g} GB" if card.memory_gb else "", f"driver {card.driver or 'unknown'}"]
        yield Check("graphics card", "ok", ", ".join(filter(None, facts)))
    if not cards:
        yield Check("graphics card", "ok", "no NVIDIA card found; training runs on the processor, which is slow")
    if importlib.util.find_spec("torch") is not None:
        yield _check_torch_build(cards)


def _check_torch_build(cards: list[Card]) -> Check:
    try:
        import torch
    except Exception as reason:
        return Check("torch build", "problem", f"torch does not load: {_last_line(str(reason))}", install_line(cards))
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
    if not torch.version.cuda and not torch.version.hip:
        if cards:
            result = "this torch is built for the processor only, but there is a graphics card"
            return Check("torch build", "problem", result, install_line(cards))
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
            result = f"built for {build}, but it cannot use the card; most often the driver is too old"
            return Check("torch build", "problem", result, f"update the NVIDIA driver, or: {install_line(cards)}")
        return Check(
            "torch build", "warning", f"built for {build}, but there is no card; training runs on the processor"
        )
    card = _card_without_kernels(torch.cuda)
    if card:
        return Check("torch build", "problem", f"built for {build}, without code for {card}", install_line(cards))
    return Check("torch build", "ok", f"{build}, {torch.cuda.device_count()} card(s) usable")


def _card_without_kernels(cuda: Any) -> str | None:
    """The first card that this torch has no code for, which would otherwise show only during the first step."""
    native = [_capability(arch) for arch in cuda.get_arch_list() if arch.startswith("sm_")]
    portable = [_capability(arch) for arch in cuda.get_arch_list() if arch.startswith("compute_")]
    for index in range(cuda.device_count() if native else 0):
        major, minor = cuda.get_device_capability(index)
        runs = any(m == major and n <= minor for m, n in native) or any(have <= (major, minor) for have in portable)
        if not runs:
            return f"{cuda.get_device_name(index)} (compute capability {major}.{minor})"
    return None


def _capability(arch: str) -> tuple[int, int]:
    """Major and minor version of `sm_86` or `compute_120`."""
    digits = re.sub(r"\D", "", arch)
    return int(digits[:-1]), int(digits[-1])


def _check_disk(out: Path) -> Iterator[Check]:
    nearest = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(nearest).free
    state: State = "problem" if free < CRITICAL_DISK else "warning" if free < LOW_DISK else "ok"
    action = "" if state == "ok" else "make room, or choose another folder with --out"
    yield Check("disk", state, f"{free / GIB:.1f} GB free for {out.name}/", action)
    try:
        with tempfile.TemporaryFile(dir=nearest):
            yield Check("write permission", "ok", f"{out.name}/ can be written")
    except OSError as reason:
        result = f"{out.name}/ cannot be written ({reason.strerror})"
        yield Check("write permission", "problem", result, "choose another folder with --out")


def _check_machine() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads) > cores:
        result = f"OMP_NUM_THREADS is {threads} on {cores} cores: threads would wait for one another"
        yield Check("threads", "warning", result, f"set OMP_NUM_THREADS={cores}, or unset it")
    else:
        yield Check("threads", "ok", f"{cores} cores" + (f", OMP_NUM_THREADS={threads}" if threads else ""))
    if importlib.util.find_spec("psutil") is not None:
        import psutil

        memory = psutil.virtual_memory()
        yield Check("memory", "ok", f"{memory.total / GIB:.1f} GB, {memory.available / GIB:.1f} GB available")


def _check_offline() -> Iterator[Check]:
    flags = [f"{name}={os.environ[name]}" for name in OFFLINE if name in os.environ]
    yield Check("offline flags", "ok", (", ".join(flags) or "none set") + "; snrlab downloads nothing either way")


def _failure_of(code: str) -> str:
    """The last line of the error when Python runs this code; empty if there is none."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    try:
        process = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, errors="replace", timeout=300, env=environment
        )
    except subprocess.TimeoutExpired:
        return "it takes longer than five minutes"
    if process.returncode == 0:
        return ""
    return _last_line(process.stderr) or f"the process ended with code {process.returncode}"


def _last_line(text: str) -> str:
    """The last line of a message, without folders of this machine."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"[^\s'\"]*[/\\]", "", lines[-1])[:300] if lines else ""
