"""Which weights a run trains, and at which rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from torch import nn

from snrlab.config.run import RunConfig
from snrlab.config.sections.train import TrainedPart
from snrlab.core.errors import UserError
from snrlab.models.components import Components
from snrlab.models.lora.adapter_dropout import AdapterDropout
from snrlab.models.lora.adapters import ADAPTER, add_lora, limit_norms, lora_layers, lora_parameters, start_from
from snrlab.models.lora.lora_file import load_lora


def _nothing() -> None:
    """Leave the weights as the optimizer made them."""


@dataclass(frozen=True, eq=False)
class Trainable:
    """The weights to train.

    Attributes:
        parameters: by name, in a fixed order.
        rates: the learning rate of each after warm-up.
        dropout: within the adapters, where there is any.
        constrain: what holds for the weights after every step (`lora.max_norm`) is brought about by calling it.
    """

    parameters: dict[str, nn.Parameter]
    rates: dict[str, float]
    dropout: AdapterDropout = field(default_factory=lambda: AdapterDropout(0, 1))
    constrain: Callable[[], None] = _nothing


def trainable(config: RunConfig, components: Components, processes: int = 1) -> Trainable:
    """The weights that a run trains; a LoRA is put on the networks first.

    Raises:
        UserError: a network that the model does not have, or a LoRA that cannot be put on it.
    """
    for part in config.train.parts:
        if part not in components.networks:
            raise UserError(
                f"train.{part}: {components.label} has no second text encoder; leave it out.", code="unused-option"
            )
    if config.train.method == "lora":
        return _adapters(config, components, processes)
    parameters = {
        f"{part}.{n}": p for part in config.train.parts for n, p in components.networks[part].named_parameters()
    }
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    return Trainable(parameters, {name: config.train.rate(_part(name)) for name in parameters})


def _adapters(config: RunConfig, components: Components, processes: int) -> Trainable:
    train, lora = config.train, config.lora
    tables = [name for name in ("block_ranks", "block_alphas", "conv_block_ranks", "conv_block_alphas")
              if getattr(lora, name)]  # fmt: skip
    if tables and not train.unet:
        raise UserError(
            f"lora.{tables[0]} is about the UNet, but train.unet is false; leave it out.", code="unused-option"
        )
    add_lora(components, lora, train.parts, config.seed)
    if lora.start_from is not None:
        path = Path(lora.start_from)
        loaded = load_lora(path, components.unet.config, field="lora.start_from")
        start_from(components, loaded, path.name)
    layers = list(lora_layers(components).values())
    total = train.batch_size * train.gradient_accumulation * processes
    dropout = AdapterDropout(config.seed, total, lora.dropout, lora.rank_dropout, lora.module_dropout)
    dropout.attach([layer.lora_A[ADAPTER] for layer in layers])
    parameters = dict(lora_parameters(components))
    rates = {name: train.rate(_part(name)) * _ratio(name, lora.loraplus_ratio) for name in parameters}
    constrain = partial(limit_norms, layers, lora.max_norm) if lora.max_norm else _nothing
    return Trainable(parameters, rates, dropout, constrain)


def _part(name: str) -> TrainedPart:
    return name.partition(".")[0]  # type: ignore[return-value]  # every name starts with its network's


def _ratio(name: str, loraplus: float | None) -> float:
    return loraplus if loraplus is not None and ".lora_B." in name else 1.0
