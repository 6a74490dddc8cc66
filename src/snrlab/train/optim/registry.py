"""Registry of optimizers: torch's, transformers', and those of optional packages.

An optimizer takes groups of weights, `{"params": [...], "lr": rate}`, and gives a `torch.optim.Optimizer` over them.
What else a run needs is a property of its entry (`snrlab.core.registries.tensor_registries.OptimizerProperties`).
This module needs no torch to be imported, only to be used.
"""

from __future__ import annotations

import contextlib
import io
import math
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt, Le, Lt

from snrlab.core.errors import UserError
from snrlab.core.registries.tensor_registries import OPTIMIZERS
from snrlab.train.optim.by_class import Arguments, ClassPath, load_class, read_optimizer_arguments
from snrlab.train.optim.properties import eight_bit, factored, moments

if TYPE_CHECKING:
    from torch.optim import Optimizer

Groups = list[dict[str, Any]]
Beta = Annotated[float, Ge(0), Lt(1)]
WeightDecay = Annotated[float, Ge(0), Le(10)]
Epsilon = Annotated[float, Gt(0), Le(1)]


@OPTIMIZERS.register(
    paper="arXiv:1711.05101", class_name="torch.optim.AdamW", state_bytes=moments(2, counter=True), one_by_one=True
)
def adamw(
    groups: Groups, *, beta1: Beta = 0.9, beta2: Beta = 0.999, eps: Epsilon = 1e-8, weight_decay: WeightDecay = 0.01
) -> Optimizer:
    """AdamW, torch's in one kernel for all weights (fused).

    >>> import torch
    >>> w = torch.nn.Parameter(torch.ones(2))
    >>> w.grad = torch.ones(2)
    >>> adamw([{"params": [w], "lr": 0.1}], weight_decay=0.0).step()
    >>> w.data
    tensor([0.9000, 0.9000])
    """
    from torch.optim import AdamW

    return AdamW(groups, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, fused=True)


@OPTIMIZERS.register(
    paper="arXiv:1804.04235", class_name="transformers.optimization.Adafactor", state_bytes=factored, one_by_one=True
)
def adafactor(
    groups: Groups,
    *,
    clip_threshold: Annotated[float, Gt(0), Le(1000)] = 1.0,
    decay_rate: Annotated[float, Ge(-1), Le(0)] = -0.8,
    weight_decay: WeightDecay = 0.0,
    scale_parameter: bool = False,
) -> Optimizer:
    """Adafactor, transformers': second moments as row and column sums; the rate is learning_rate, not a relative step.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.ones(2, 2))
    >>> w.grad = torch.ones(2, 2)
    >>> adafactor([{"params": [w], "lr": 0.1}]).step()
    >>> w.data
    tensor([[0.9000, 0.9000],
            [0.9000, 0.9000]])
    """
    from transformers.optimization import Adafactor

    return Adafactor(
        groups,
        lr=0.0,  # every group has its own
        clip_threshold=clip_threshold,
        decay_rate=decay_rate,
        weight_decay=weight_decay,
        scale_parameter=scale_parameter,
        relative_step=False,
    )


@OPTIMIZERS.register(
    paper="arXiv:2110.02861",
    class_name="bitsandbytes.optim.AdamW8bit",
    requires="bitsandbytes",
    extra="bitsandbytes",
    state_bytes=eight_bit,
    one_by_one=True,
)
def adamw8bit(
    groups: Groups, *, beta1: Beta = 0.9, beta2: Beta = 0.999, eps: Epsilon = 1e-8, weight_decay: WeightDecay = 0.01
) -> Optimizer:
    """AdamW with moments of 8 bits, bitsandbytes': a quarter of AdamW's state.

    >>> [OPTIMIZERS[name].properties.state_bytes((64, 64)) for name in ("adamw", "adamw8bit")]
    [32772, 8320]
    """
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(groups, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)


@OPTIMIZERS.register(
    paper="arXiv:2305.14314",
    class_name="bitsandbytes.optim.PagedAdamW8bit",
    requires="bitsandbytes",
    extra="bitsandbytes",
    state_bytes=lambda shape: 0,
    one_by_one=True,
    paged=True,
)
def paged_adamw8bit(
    groups: Groups, *, beta1: Beta = 0.9, beta2: Beta = 0.999, eps: Epsilon = 1e-8, weight_decay: WeightDecay = 0.01
) -> Optimizer:
    """The same with its state in memory that moves between GPU and CPU as needed; only beside a GPU.

    >>> OPTIMIZERS["paged_adamw8bit"].properties.paged
    True
    """
    from bitsandbytes.optim import PagedAdamW8bit

    return PagedAdamW8bit(groups, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)


@OPTIMIZERS.register(
    paper="arXiv:2302.06675",
    class_name="lion_pytorch.Lion",
    requires="lion_pytorch",
    state_bytes=moments(1),
    one_by_one=True,
)
def lion(groups: Groups, *, beta1: Beta = 0.9, beta2: Beta = 0.99, weight_decay: WeightDecay = 0.0) -> Optimizer:
    """Lion, lion-pytorch's: steps by the sign alone; a third to a tenth of AdamW's learning rate.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.ones(2))
    >>> w.grad = torch.tensor([0.01, -100.0])
    >>> lion([{"params": [w], "lr": 0.1}]).step()
    >>> w.data
    tensor([0.9000, 1.1000])
    """
    from lion_pytorch import Lion

    return Lion(groups, betas=(beta1, beta2), weight_decay=weight_decay)


@OPTIMIZERS.register(
    paper="arXiv:2306.06101",
    class_name="prodigyopt.Prodigy",
    requires="prodigyopt",
    state_bytes=moments(4),
    one_rate=True,
    finds_rate=True,
)
def prodigy(
    groups: Groups,
    *,
    beta1: Beta = 0.9,
    beta2: Beta = 0.999,
    weight_decay: WeightDecay = 0.01,
    d_coef: Annotated[float, Gt(0), Le(100)] = 1.0,
    d0: Annotated[float, Gt(0), Le(1)] = 1e-6,
    growth_rate: Annotated[float, Gt(1), Le(1e6)] | None = None,
    use_bias_correction: bool = True,
    safeguard_warmup: bool = True,
) -> Optimizer:
    """Prodigy, prodigyopt's: AdamW that finds its learning rate; learning_rate = 1 multiplies it.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.ones(2))
    >>> made = prodigy([{"params": [w], "lr": 1.0}], d0=0.01)
    >>> for _ in range(50):
    ...     w.grad = w.data - 3
    ...     made.step()
    >>> made.param_groups[0]["d"] > 0.02
    True
    """
    from prodigyopt import Prodigy

    with contextlib.redirect_stdout(io.StringIO()):  # it prints a line that helps nobody
        return Prodigy(
            groups,
            betas=(beta1, beta2),
            weight_decay=weight_decay,
            d_coef=d_coef,
            d0=d0,
            growth_rate=growth_rate or math.inf,
            use_bias_correction=use_bias_correction,
            safeguard_warmup=safeguard_warmup,
        )


@OPTIMIZERS.register(
    paper="arXiv:2405.15682",
    class_name="schedulefree.AdamWScheduleFree",
    requires="schedulefree",
    state_bytes=moments(2),
    own_schedule=True,
    averages=True,
)
def schedule_free(
    groups: Groups, *, beta1: Beta = 0.9, beta2: Beta = 0.999, eps: Epsilon = 1e-8, weight_decay: WeightDecay = 0.01
) -> Optimizer:
    """Schedule-free AdamW, schedulefree's: an average of the weights in place of a schedule.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.ones(2))
    >>> w.grad = torch.ones(2)
    >>> made = schedule_free([{"params": [w], "lr": 0.1}], weight_decay=0.0)
    >>> made.train()
    >>> made.step()
    >>> w.data
    tensor([0.9000, 0.9000])
    """
    from schedulefree import AdamWScheduleFree

    return AdamWScheduleFree(groups, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)


@OPTIMIZERS.register(paper="none: of the user's choice", state_bytes=moments(2))
def custom(groups: Groups, *, path: Annotated[str, ClassPath()], args: Annotated[str, Arguments()] = "") -> Optimizer:
    """Any optimizer, `module:Class`, with `args` such as `momentum=0.9, nesterov=True`.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.ones(2))
    >>> custom([{"params": [w], "lr": 0.1}], path="torch.optim:SGD", args="momentum=0.9").param_groups[0]["momentum"]
    0.9
    """
    optimizer_class = load_class(path)
    try:
        optimizer = optimizer_class(groups, **read_optimizer_arguments(args))
    except (TypeError, ValueError) as reason:
        raise UserError(
            f"train.optimizer: {path} does not take args = '{args}': {reason}", code="package-error"
        ) from None
    if not (hasattr(optimizer, "param_groups") and hasattr(optimizer, "state")):
        raise UserError(f"train.optimizer: {path} is not a torch optimizer.", code="wrong-type")
    return optimizer
