"""Noise shapes: the noise of one example that goes into both the input and the target.

A shape takes `eps`, standard normal noise [C, h, w], and a generator that belongs to the example,
and returns noise of the same shape. This module needs no torch to be imported, only to be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt, Le, Lt

from snrlab.core.noise import NOISES

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@NOISES.register(paper="arXiv:2006.11239")
def gaussian(eps: Tensor, rng: np.random.Generator) -> Tensor:
    """Independent standard normal noise, as the schedule's SNR assumes.

    >>> import numpy as np, torch
    >>> gaussian(torch.ones(1, 2, 2), np.random.default_rng(0)).sum()
    tensor(4.)
    """
    return eps


@NOISES.register(
    paper="https://www.crosslabs.org/blog/diffusion-with-offset-noise",
    kohya={"ss_noise_offset": "strength"},
    changes="the mean of each channel gets noise of its own, so overall brightness has a far lower SNR than the table "
    "says; the effect grows with the resolution",
)
def offset(eps: Tensor, rng: np.random.Generator, *, strength: Annotated[float, Ge(0), Le(2)] = 0.05) -> Tensor:
    """Adds strength x N(0, 1) to each channel: offset noise.

    >>> import numpy as np, torch
    >>> shifted = offset(torch.zeros(1, 2, 2), np.random.default_rng(0), strength=0.1)
    >>> bool((shifted == shifted[0, 0, 0]).all())
    True
    """
    return eps + strength * _normal(eps, rng, (eps.shape[0], 1, 1))


@NOISES.register(
    paper="https://wandb.ai/johnowhitaker/multires_noise",
    kohya={"ss_multires_noise_iterations": "iterations", "ss_multires_noise_discount": "discount"},
    changes="coarse structure gets more noise and fine structure less, at the same total variance",
)
def pyramid(
    eps: Tensor,
    rng: np.random.Generator,
    *,
    iterations: Annotated[int, Ge(1), Le(10)] = 6,
    discount: Annotated[float, Gt(0), Lt(1)] = 0.3,
) -> Tensor:
    """Adds coarser and coarser noise, level i scaled by discount^i, rescaled to variance 1: multires noise.

    >>> import numpy as np, torch
    >>> noise = pyramid(torch.randn(4, 32, 32), np.random.default_rng(0))
    >>> noise.shape
    torch.Size([4, 32, 32])
    """
    from torch.nn.functional import interpolate

    channels, height, width = eps.shape
    total, size = eps, (height, width)
    for level in range(1, iterations + 1):
        factor = 2 + 2 * float(rng.random())  # each level is 2 to 4 times coarser than the last
        size = (max(1, int(size[0] / factor)), max(1, int(size[1] / factor)))
        coarse = _normal(eps, rng, (channels, *size))
        fine = interpolate(coarse[None], size=(height, width), mode="bilinear")[0]
        total = total + fine * discount**level
        if 1 in size:
            break
    return total / total.std(correction=0)


def _normal(like: Any, rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    import numpy as np

    return like.new_tensor(rng.standard_normal(shape, dtype=np.float32))
