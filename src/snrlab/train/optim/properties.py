"""Properties of optimizers: bytes of state for a weight, and whether the optimizer is available on this machine."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable

from snrlab.core.errors import UserError
from snrlab.core.registries.tensor_registries import OPTIMIZERS, Shape
from snrlab.installation import install_command

_FP32 = 4
_BLOCK = 256  # weights that share a scale in an 8-bit state
_SMALL = 4096  # weights below which bitsandbytes keeps 32 bits


def moments(count: int, *, counter: bool = False) -> Callable[[Shape], int]:
    """Bytes of `count` fp32 numbers for each weight, and of a step counter if the state has one as a tensor.

    >>> moments(2, counter=True)((10, 10))
    804
    """
    return lambda shape: count * _FP32 * math.prod(shape) + _FP32 * counter


def factored(shape: Shape) -> int:
    """Bytes of Adafactor's state: sums over each of the last two dimensions, or a whole vector, and the weight's RMS.

    >>> [factored(shape) for shape in ((100, 10), (100,))]
    [444, 404]
    """
    if len(shape) < 2:
        return _FP32 * math.prod(shape) + _FP32
    return _FP32 * (math.prod(shape[:-1]) + math.prod((*shape[:-2], shape[-1]))) + _FP32


def eight_bit(shape: Shape) -> int:
    """Bytes of 8-bit AdamW's state: two moments of a byte and a scale for each block; 32 bits for small weights.

    >>> [eight_bit(shape) for shape in ((64, 64), (10, 10))]
    [8320, 800]
    """
    size = math.prod(shape)
    if size < _SMALL:
        return 2 * _FP32 * size
    return 2 * (size + _FP32 * -(-size // _BLOCK))


def refuse_uninstalled_optimizer(name: str) -> None:
    """Refuse an optimizer whose package is not installed (UserError); imports nothing."""
    optimizer = OPTIMIZERS[name].properties
    if optimizer.requires and importlib.util.find_spec(optimizer.requires) is None:
        raise UserError(
            f"train.optimizer: {name} needs the package {optimizer.requires}, which is not installed. "
            f"Install it with: {install_command(optimizer.extra)}",
            code="missing-package",
        )


def refuse_missing_optimizer(name: str) -> None:
    """Refuse an optimizer whose package is not installed, or that needs a GPU where there is none (UserError)."""
    import torch

    refuse_uninstalled_optimizer(name)
    optimizer = OPTIMIZERS[name].properties
    package = optimizer.requires
    if package:
        try:
            importlib.import_module(package)
        except (ImportError, OSError, RuntimeError) as reason:
            raise UserError(
                f"train.optimizer: {name} needs the package {package}, which does not load ({reason}). "
                f"Install it with: {install_command(optimizer.extra)}",
                code="missing-package",
            ) from None
    if optimizer.paged and not torch.cuda.is_available():
        raise UserError(
            f"train.optimizer: {name} moves its state between GPU and CPU, and there is no GPU here.",
            code="device-error",
        )
