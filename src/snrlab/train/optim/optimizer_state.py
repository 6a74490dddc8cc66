"""Save and restore the state of any torch optimizer, to the bit, as named tensors and plain numbers.

A weight's state is a dict, and so is a parameter group: their tensors and their other values are stored separately.
torch's own `load_state_dict` casts state to the weight's dtype, which changes what was saved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from snrlab.core.errors import UserError

_PLAIN = (bool, int, float, str, type(None))
SET_BY_RUN = ("params", "lr", "rate")  # keys of a group that the run sets itself


class Numbers(TypedDict):
    """The values that are no tensors, by group and by weight; `host` names tensors that lay on the CPU, not the GPU."""

    groups: list[dict[str, Any]]
    state: dict[str, dict[str, Any]]
    host: list[str]


def take_state(
    optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter]
) -> tuple[dict[str, Tensor], Numbers]:
    """Take the state of an optimizer over these weights: (tensors named KEY/NAME, other values).

    Raises:
        UserError: the state has a value that is neither tensor, number nor text.
    """
    tensors: dict[str, Tensor] = {}
    numbers = Numbers(groups=[], state={}, host=[])
    for index, group in enumerate(optimizer.param_groups):
        options = {key: value for key, value in group.items() if key not in SET_BY_RUN}
        numbers["groups"].append(_split_tensors(options, f"group {index}", tensors))
    for name, parameter in parameters.items():
        state = optimizer.state.get(parameter, {})
        numbers["state"][name] = _split_tensors(state, name, tensors)
        if parameter.device.type != "cpu":
            numbers["host"] += [
                f"{k}/{name}" for k, v in state.items() if isinstance(v, Tensor) and v.device.type == "cpu"
            ]
    return tensors, numbers


def group_by_owner(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors named KEY/NAME, grouped by weight or parameter group, then by key."""
    by_owner_and_key: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        key, _, owner = name.partition("/")
        by_owner_and_key[owner][key] = tensor
    return by_owner_and_key


def put_state(
    optimizer: torch.optim.Optimizer,
    parameters: dict[str, nn.Parameter],
    tensors: Mapping[str, Mapping[str, Tensor]],
    numbers: Numbers,
    device: torch.device,
) -> None:
    """Give an optimizer copies of the state that `take_state` took, on `device` where it was on one.

    Args:
        optimizer: as `take_state` was given it.
        parameters: its weights by name.
        tensors: by owner.
        numbers: the rest.
        device: where the weights are.
    """
    for index, (group, plain) in enumerate(zip(optimizer.param_groups, numbers["groups"], strict=True)):
        tensor_options = {key: value.clone() for key, value in tensors.get(f"group {index}", {}).items()}
        for key, value in (plain | tensor_options).items():
            group[key] = tuple(value) if isinstance(group.get(key), tuple) else value
    for name, parameter in parameters.items():
        state = {**numbers["state"][name]}
        for key, value in tensors.get(name, {}).items():
            on_host = f"{key}/{name}" in numbers["host"]
            state[key] = value.clone() if on_host else _copy_to_device(optimizer, parameter, value, device)
        if state:
            optimizer.state[parameter] = state


def _split_tensors(values: dict[str, Any], name: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Tensor):
            tensors[f"{key}/{name}"] = value.detach()
        elif isinstance(value, _PLAIN):
            plain[key] = value
        elif isinstance(value, list | tuple) and all(isinstance(item, _PLAIN) for item in value):
            plain[key] = list(value)
        else:
            raise UserError(
                f"train.optimizer keeps '{key}' as {type(value).__name__}, which a checkpoint cannot hold.",
                code="not-supported",
            )
    return plain


def _copy_to_device(optimizer: Any, parameter: nn.Parameter, value: Tensor, device: torch.device) -> Tensor:
    """A copy of a state tensor where the optimizer keeps it: on the device, or in memory paged by bitsandbytes."""
    if not getattr(optimizer, "is_paged", False) or value.shape != parameter.shape:
        return value.to(device, copy=True)
    buffer: Tensor = optimizer.get_state_buffer(parameter, dtype=value.dtype)
    return buffer.copy_(value)
