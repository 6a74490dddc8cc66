"""The state of any torch optimizer as named tensors and plain numbers, and back, to the bit.

A weight's state is a dict, and so is a group: tensors in them go one way, everything else the other. torch's own
`load_state_dict` casts state to the weight's number format, which is not what was saved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from snrlab.core.errors import UserError

_PLAIN = (bool, int, float, str, type(None))
STATED = ("params", "lr", "rate")  # of a group; the run says these


class Numbers(TypedDict):
    """What is no tensor: by group, by weight and key; and the tensors that lay on the CPU beside a GPU."""

    groups: list[dict[str, Any]]
    state: dict[str, dict[str, Any]]
    host: list[str]


def take_state(
    optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter]
) -> tuple[dict[str, Tensor], Numbers]:
    """(tensors named KEY/NAME, the rest) of an optimizer over these weights.

    Raises:
        UserError: it keeps something that is neither tensor, number nor text.
    """
    tensors: dict[str, Tensor] = {}
    numbers = Numbers(groups=[], state={}, host=[])
    for index, group in enumerate(optimizer.param_groups):
        kept = {key: value for key, value in group.items() if key not in STATED}
        numbers["groups"].append(_split(kept, f"group {index}", tensors))
    for name, parameter in parameters.items():
        kept = optimizer.state.get(parameter, {})
        numbers["state"][name] = _split(kept, name, tensors)
        if parameter.device.type != "cpu":
            numbers["host"] += [
                f"{k}/{name}" for k, v in kept.items() if isinstance(v, Tensor) and v.device.type == "cpu"
            ]
    return tensors, numbers


def by_owner(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors named KEY/NAME, by the weight or group that they are of and their key there."""
    found: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        key, _, owner = name.partition("/")
        found[owner][key] = tensor
    return found


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
        own = {key: value.clone() for key, value in tensors.get(f"group {index}", {}).items()}
        for key, value in (plain | own).items():
            group[key] = tuple(value) if isinstance(group.get(key), tuple) else value
    for name, parameter in parameters.items():
        found = {**numbers["state"][name]}
        for key, value in tensors.get(name, {}).items():
            on_host = f"{key}/{name}" in numbers["host"]
            found[key] = value.clone() if on_host else _placed(optimizer, parameter, value, device)
        if found:
            optimizer.state[parameter] = found


def _split(values: dict[str, Any], name: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
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


def _placed(optimizer: Any, parameter: nn.Parameter, value: Tensor, device: torch.device) -> Tensor:
    """A copy of a tensor of state where the optimizer has it: on the device, or in memory that bitsandbytes pages."""
    if not getattr(optimizer, "is_paged", False) or value.shape != parameter.shape:
        return value.to(device, copy=True)
    buffer: Tensor = optimizer.get_state_buffer(parameter, dtype=value.dtype)
    return buffer.copy_(value)
