"""What will stop the training of an imported run file on this machine, found without loading a model."""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

from snrlab.config.load import parse_run
from snrlab.config.run import RunConfig
from snrlab.core.errors import UserError
from snrlab.core.registries.tensor_registries import OPTIMIZERS
from snrlab.installation import install_command
from snrlab.peers.importing import Imported
from snrlab.train.optim.properties import refuse_uninstalled_optimizer


@dataclass(frozen=True)
class Obstacle:
    """Something that will stop the training.

    Attributes:
        message: what it is and what to do, in sentences.
        code: of the error that training would stop with.
    """

    message: str
    code: str

    def __str__(self) -> str:
        """Message and code."""
        return f"{self.message} [{self.code}]"


def find_obstacles(imported: Imported) -> tuple[Obstacle, ...]:
    """Packages that are missing, and what is wrong with images, batch size and warm-up.

    The headers of the images are read where no path of [data] is missing and Pillow is installed.
    """
    config = parse_run(tomllib.loads(imported.written.text))
    has_images = not any(text.startswith("data.") for text in imported.missing)
    return (*_missing_packages(config), *(_image_problems(config) if has_images else ()))


def _missing_packages(config: RunConfig) -> Iterator[Obstacle]:
    optimizer = config.train.optimizer
    package = str(optimizer.params.get("path", "")).partition(":")[0].partition(".")[0]
    try:
        refuse_uninstalled_optimizer(optimizer.name)
    except UserError as error:
        yield Obstacle(f"{error}. {_without_package(config)}", error.code)
    if package and not _is_installed(package):
        yield Obstacle(
            f"train.optimizer: {optimizer.name} needs the package {package}, which is not installed. Install it with: "
            f"pip install {package}. {_without_package(config)}",
            "missing-package",
        )
    for tracker in config.log.trackers:
        if not _is_installed(tracker):
            yield Obstacle(
                f"log.trackers: {tracker} is not installed. Run: {install_command(tracker)}. Or remove it.",
                "missing-package",
            )


def _without_package(config: RunConfig) -> str:
    """How to train without the package of the optimizer, and what of its settings would be lost."""
    lost = sorted(set(config.train.optimizer.params) - set(OPTIMIZERS["adamw"].parameters))
    if lost:
        return f"Or train with AdamW, without {', '.join(lost)}: --set train.optimizer=adamw."
    return "Or train with AdamW, which keeps its settings: --set train.optimizer.name=adamw."


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _image_problems(config: RunConfig) -> Iterator[Obstacle]:
    try:
        from snrlab.data.dataset import find, refuse_batch_of_repeats, select_items
    except ImportError:
        return
    try:
        train, held_back = config.train, config.validation.images
        discovery = find(config.data)
        items, _ = select_items(
            discovery, config.data, seed=config.seed, hold_back=held_back, batch_size=train.batch_size
        )
        refuse_batch_of_repeats(train.batch_size, items)
        train.in_steps(sum(item.repeats for item in items))
    except UserError as error:
        yield Obstacle(str(error), error.code)
