"""The number formats that a model is stored and computed in, and where its networks wait."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from snrlab.models.components import Components


def with_precision(components: Components, dtype: torch.dtype, *, frozen: bool) -> Components:
    """The same networks, computing in a number format.

    Args:
        components: the model; its networks are changed in place.
        dtype: of the arithmetic of UNet and text encoders.
        frozen: whether their weights stay as they are, so that half precision may hold them too (what is added to
            them and trained stays in fp32).
    """
    if frozen:
        for name in ("unet", "text_encoder", "text_encoder_2"):
            if name in components.networks:
                _cast(components.networks[name], dtype)
    _cast(components.vae, torch.float32)  # SDXL's autoencoder overflows in fp16, and encodes once only
    return replace(components, arithmetic=dtype)


def computing(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """Within it, networks on this device compute in half precision if `dtype` is that."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def release(components: Components, *, keep: Collection[str], later: Collection[str] = ()) -> int:
    """Free the memory of networks that training does not need any more.

    Args:
        components: the model, changed in place.
        keep: names of the networks that stay where they are.
        later: those that are needed again now and then: they wait on the CPU (`borrowed` lends them).
            The others lose their weights and keep their configs.

    Returns:
        Bytes of weights that left the device they were on.
    """
    freed = 0
    for name, network in components.networks.items():
        if name not in keep:
            freed += _move(network, torch.device("cpu" if name in later else "meta"))
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return freed


@contextmanager
def borrowed(components: Components, names: Collection[str], device: torch.device) -> Iterator[None]:
    """Within it these networks are on a device; afterwards they are back where they waited."""
    there = {name: network.device for name, network in components.networks.items() if name in names}
    for name in there:
        _move(components.networks[name], device)
    try:
        yield
    finally:
        for name, home in there.items():
            _move(components.networks[name], home)


def _move(network: nn.Module, device: torch.device) -> int:
    moved = sum(p.nbytes for p in network.parameters() if p.device.type != device.type)
    nn.Module.to(network, device)
    return moved


def _cast(network: nn.Module, dtype: torch.dtype) -> None:
    nn.Module.to(network, dtype)  # the libraries' own methods say something each time
