"""The weights that a run trains, and their learning rates."""

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


def _no_constraint() -> None:
    """Constrain nothing."""


@dataclass(frozen=True, eq=False)
class Trainable:
    """The weights to train.

    Attributes:
        parameters: by name, in a fixed order.
        rates: the learning rate of each weight after warm-up.
        dropout: the dropout within the adapters.
        constrain: called after every step to enforce what the weights must satisfy (`lora.max_norm`).
    """

    parameters: dict[str, nn.Parameter]
    rates: dict[str, float]
    dropout: AdapterDropout = field(default_factory=lambda: AdapterDropout(0, 1))
    constrain: Callable[[], None] = _no_constraint


def trainable(config: RunConfig, components: Components, processes: int = 1) -> Trainable:
    """Make the weights of a run trainable; a LoRA is first added to the networks.

    Raises:
        UserError: a network that the model does not have, or a LoRA that does not fit it.
    """
    for part in config.train.parts:
        if part not in components.networks:
            raise UserError(
                f"train.{part}: {components.label} has no second text encoder; leave it out.", code="unused-option"
            )
    if config.train.method == "lora":
        return _trainable_lora(config, components, processes)
    parameters = {
        f"{part}.{n}": p for part in config.train.parts for n, p in components.networks[part].named_parameters()
    }
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    return Trainable(parameters, {name: config.train.rate(_network_of(name)) for name in parameters})


def _trainable_lora(config: RunConfig, components: Components, processes: int) -> Trainable:
    """Add the adapters to the networks; their weights, rates, dropout and constraint."""
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
    dropout = AdapterDropout(config.seed_of_steps, total, lora.dropout, lora.rank_dropout, lora.module_dropout)
    dropout.attach([layer.lora_A[ADAPTER] for layer in layers])
    parameters = dict(lora_parameters(components))
    rates = {name: train.rate(_network_of(name)) * _loraplus_factor(name, lora.loraplus_ratio) for name in parameters}
    constrain = partial(limit_norms, layers, lora.max_norm) if lora.max_norm else _no_constraint
    return Trainable(parameters, rates, dropout, constrain)


def _network_of(name: str) -> TrainedPart:
    return name.partition(".")[0]  # type: ignore[return-value]  # every name starts with its network's


def _loraplus_factor(name: str, ratio: float | None) -> float:
    return ratio if ratio is not None and ".lora_B." in name else 1.0
