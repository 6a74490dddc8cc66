"""Noise shapes: the noise of one example that goes into both the input and the target.

A shape takes `eps`, standard normal noise [C, h, w] on the CPU, the example's clean latents `x0` [C, h, w] and a
generator that belongs to the example, and returns noise of the same shape. This module needs no torch to be
imported, only to be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt, Le, Lt

from snrlab.core.registries.tensor_registries import NOISES

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

NoiseStrength = Annotated[float, Ge(0), Le(2)]
AdaptiveScale = Annotated[float, Ge(-10), Le(10)] | None
Levels = Annotated[int, Ge(1), Le(10)]
Discount = Annotated[float, Gt(0), Lt(1)]
OFFSET_KEYS = {
    "ss_noise_offset": "strength",
    "ss_noise_offset_random_strength": "random_strength",
    "ss_adaptive_noise_scale": "adaptive_scale",
}
PYRAMID_KEYS = {"ss_multires_noise_iterations": "iterations", "ss_multires_noise_discount": "discount"}


@NOISES.register(paper="arXiv:2006.11239", formula="noise = epsilon")
def gaussian(eps: Tensor, x0: Tensor, rng: np.random.Generator) -> Tensor:
    """Independent standard normal noise, as the schedule's SNR assumes.

    >>> import numpy as np, torch
    >>> gaussian(torch.ones(1, 2, 2), torch.zeros(1, 2, 2), np.random.default_rng(0)).sum()
    tensor(4.)
    """
    return eps


@NOISES.register(
    paper="https://www.crosslabs.org/blog/diffusion-with-offset-noise",
    formula="noise = epsilon + strength*delta",
    kohya=OFFSET_KEYS,
    changes="the mean of each channel gets noise of its own, so overall brightness has a far lower SNR than the table "
    "says; the effect grows with the resolution",
)
def offset(
    eps: Tensor,
    x0: Tensor,
    rng: np.random.Generator,
    *,
    strength: NoiseStrength = 0.05,
    random_strength: bool = False,
    adaptive_scale: AdaptiveScale = None,
) -> Tensor:
    """Adds strength x N(0, 1) to each channel: offset noise, kohya's noise_offset.

    With `random_strength` the strength is times U(0, 1), drawn for each example (kohya: for each batch). Then
    `adaptive_scale` x |mean of the channel in x0| is added to it, and what is below 0 is 0.

    >>> import numpy as np, torch
    >>> shifted = offset(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), np.random.default_rng(0), strength=0.1)
    >>> bool((shifted == shifted[0, 0, 0]).all())
    True
    """
    shift = _normal(eps, rng, (eps.shape[0], 1, 1))
    size: float | Tensor = strength * rng.random() if random_strength else strength
    if adaptive_scale is not None:
        means = x0.mean((1, 2), keepdim=True).to(eps.device)
        size = (size + adaptive_scale * means.abs()).clamp(min=0)
    return eps + size * shift


@NOISES.register(
    paper="https://wandb.ai/johnowhitaker/multires_noise",
    formula="noise = total/std(total); total = epsilon + sum(discount**i*coarse(i))",
    kohya=PYRAMID_KEYS,
    changes="coarse structure gets more noise and fine structure less, at the same total variance",
)
def pyramid(
    eps: Tensor,
    x0: Tensor,
    rng: np.random.Generator,
    *,
    iterations: Levels = 6,
    discount: Discount = 0.3,
) -> Tensor:
    """Adds coarser and coarser noise, level i scaled by discount^i, rescaled to variance 1: kohya's multires noise.

    Level i is r^i times coarser, with r = U(2, 4) drawn anew for each; level 0 is fine noise again, as in kohya. The
    example is divided by its own standard deviation (kohya: by that of the batch).

    >>> import numpy as np, torch
    >>> eps = torch.randn(4, 32, 32)
    >>> noise = pyramid(eps, torch.zeros_like(eps), np.random.default_rng(0))
    >>> noise.shape, round(float(noise.std()), 3)
    (torch.Size([4, 32, 32]), 1.0)
    """
    from torch.nn.functional import interpolate

    channels, height, width = eps.shape
    total = eps
    for level in range(iterations):
        r = 2 + 2 * float(rng.random())
        size = (max(1, int(height / r**level)), max(1, int(width / r**level)))
        coarse = _normal(eps, rng, (channels, *size))
        total = total + interpolate(coarse[None], size=(height, width), mode="bilinear")[0] * discount**level
        if 1 in size:
            break
    return total / total.std()


@NOISES.register(
    paper="kohya-ss/sd-scripts, library/train_util.py",
    formula="noise = total/std(total); total = epsilon + strength*delta + sum(discount**i*coarse(i))",
    kohya=OFFSET_KEYS | PYRAMID_KEYS,
    changes="brightness and coarse structure get more noise, fine structure less, at the same total variance",
)
def offset_pyramid(
    eps: Tensor,
    x0: Tensor,
    rng: np.random.Generator,
    *,
    strength: NoiseStrength = 0.05,
    random_strength: bool = False,
    adaptive_scale: AdaptiveScale = None,
    iterations: Levels = 6,
    discount: Discount = 0.3,
) -> Tensor:
    """The offset first, then the pyramid on top and the scaling to variance 1: both options of kohya's at once.

    >>> import numpy as np, torch
    >>> eps = torch.randn(4, 32, 32)
    >>> noise = offset_pyramid(eps, torch.zeros_like(eps), np.random.default_rng(0), strength=0.3)
    >>> round(float(noise.std()), 3)
    1.0
    """
    shifted = offset(eps, x0, rng, strength=strength, random_strength=random_strength, adaptive_scale=adaptive_scale)
    return pyramid(shifted, x0, rng, iterations=iterations, discount=discount)


def _normal(like: Tensor, rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    import numpy as np

    return like.new_tensor(rng.standard_normal(shape, dtype=np.float32))
