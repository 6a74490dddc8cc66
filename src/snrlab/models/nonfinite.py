"""Search for NaN and infinite weights, for when a result turns out not to be finite."""

from __future__ import annotations

import torch

from snrlab.models.components import Components


def first_nonfinite_weight(components: Components) -> str | None:
    """Name of the first weight with a NaN or infinite value, or None."""
    for part, network in components.networks.items():
        for name, tensor in network.state_dict().items():
            in_memory = tensor.device.type != "meta"  # networks that a run does not need are freed to the meta device
            if in_memory and tensor.is_floating_point() and not torch.isfinite(tensor).all():
                return f"{part}.{name}"
    return None
