"""Weights that are no numbers: looked for once something computed with them is none."""

from __future__ import annotations

import torch

from snrlab.models.components import Components


def first_nonfinite_weight(components: Components) -> str | None:
    """The name of a weight that holds what is not a finite number, or None."""
    for part, network in components.networks.items():
        for name, tensor in network.state_dict().items():
            kept = tensor.device.type != "meta"  # what a run does not need is freed
            if kept and tensor.is_floating_point() and not torch.isfinite(tensor).all():
                return f"{part}.{name}"
    return None
