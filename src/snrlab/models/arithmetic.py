"""Precision and placement: the number formats and the devices of a model's networks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from snrlab.models.components import Components


def with_precision(components: Components, dtype: torch.dtype, *, frozen: bool) -> Components:
    """The same model, computing in the given number format.

    Args:
        components: the model; its networks are changed in place.
        dtype: of the arithmetic of UNet and text encoders.
        frozen: whether their weights are not trained, so that they too may be stored in half precision (adapters
            added to them are trained in fp32).
    """
    if frozen:
        for name in ("unet", "text_encoder", "text_encoder_2"):
            if name in components.networks:
                _cast(components.networks[name], dtype)
    _cast(components.vae, torch.float32)  # SDXL's autoencoder overflows in fp16, and encodes once only
    return replace(components, arithmetic=dtype)


def computing(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """Context in which networks on this device compute in `dtype`, where that is a half precision."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def release(components: Components, *, keep: Collection[str], later: Collection[str] = ()) -> int:
    """Free the memory of networks that training no longer needs.

    Args:
        components: the model, changed in place.
        keep: names of the networks that stay where they are.
        later: names of the networks that are needed again now and then: they move to the CPU (see `borrowed`).
            All others lose their weights and keep their configs.

    Returns:
        Bytes of weights that were moved off their device.
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
    """Context in which these networks are on a device; afterwards they return to where they were."""
    homes = {name: network.device for name, network in components.networks.items() if name in names}
    for name in homes:
        _move(components.networks[name], device)
    try:
        yield
    finally:
        for name, home in homes.items():
            _move(components.networks[name], home)


def _move(network: nn.Module, device: torch.device) -> int:
    moved = sum(p.nbytes for p in network.parameters() if p.device.type != device.type)
    nn.Module.to(network, device)
    return moved


def _cast(network: nn.Module, dtype: torch.dtype) -> None:
    nn.Module.to(network, dtype)  # the libraries' own `to` methods log a message each time
