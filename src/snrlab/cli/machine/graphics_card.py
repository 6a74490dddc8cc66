"""NVIDIA cards of a machine and the build of torch that drives them, found without torch."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

INDEX = "https://download.pytorch.org/whl"
CUDA_13_DRIVER = 580  # the first driver that runs programs built with CUDA 13
TURING = 7.5  # the oldest compute capability that CUDA 13 builds code for
QUERY = ("name", "driver_version", "memory.total", "compute_cap")


@dataclass(frozen=True)
class Card:
    """An NVIDIA card; what could not be determined is None.

    Attributes:
        name: name of the product.
        driver: version of the driver, such as 580.65.
        memory_gb: memory in GiB.
        capability: compute capability, such as 8.6.
    """

    name: str
    driver: str | None = None
    memory_gb: float | None = None
    capability: float | None = None


def find_cards() -> list[Card]:
    """The NVIDIA cards of this machine, from nvidia-smi or else from the system."""
    return _by_nvidia_smi() or _by_driver_files() or _by_windows()


def install_line(cards: list[Card]) -> str:
    """The command that installs torch for these cards, the same on Windows and Linux.

    >>> install_line([Card("NVIDIA GeForce RTX 3060", "580.65", 12.0, 8.6)])
    'pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu130'
    >>> install_line([Card("NVIDIA GeForce GTX 1080", "560.35", 8.0, 6.1)])
    'pip install --force-reinstall "torch<2.15" --index-url https://download.pytorch.org/whl/cu126'
    """
    old_card = any(card.capability is not None and card.capability < TURING for card in cards)
    old_driver = any(card.driver is not None and _major(card.driver) < CUDA_13_DRIVER for card in cards)
    if old_card or old_driver:  # builds with CUDA 12.6 end with torch 2.14
        return f'pip install --force-reinstall "torch<2.15" --index-url {INDEX}/cu126'
    return f"pip install --force-reinstall torch --index-url {INDEX}/cu130"


def _by_nvidia_smi() -> list[Card]:
    for fields in (QUERY, QUERY[:3]):  # old drivers do not know compute_cap
        lines = _output(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"])
        if lines:
            rows = [[cell.strip() for cell in line.split(",")] for line in lines]
            return [_card(*row) for row in rows if len(row) == len(fields)]
    return []


def _card(name: str, driver: str, memory: str, capability: str = "") -> Card:
    megabytes = _number(memory)
    return Card(name, driver, None if megabytes is None else round(megabytes / 1024, 1), _number(capability))


def _by_driver_files() -> list[Card]:
    """Cards from the files of the Linux driver, which exist without its tools too, as in many containers."""
    names = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        model_lines = [
            line
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines()
            if line.startswith("Model:")
        ]
        names += [line.partition(":")[2].strip() for line in model_lines]
    devices = [path for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()]
    return [Card(name) for name in names] or [Card("NVIDIA card") for _ in devices]


def _by_windows() -> list[Card]:
    if os.name != "nt":
        return []
    query = "(Get-CimInstance Win32_VideoController).Name"
    names = _output(["powershell", "-NoProfile", "-NonInteractive", "-Command", query])
    return [Card(name.strip()) for name in names if "nvidia" in name.lower()]


def _output(command: list[str]) -> list[str]:
    """Lines that a command prints; none if it does not exist or fails."""
    try:
        process = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line for line in process.stdout.splitlines() if line.strip()] if process.returncode == 0 else []


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _major(version: str) -> int:
    first = version.partition(".")[0]
    return int(first) if first.isdigit() else CUDA_13_DRIVER
