"""The registries of noise shapes, losses and optimizers, whose entries act on tensors.

The entries are defined where tensors are (`snrlab.train.step.noise`, `snrlab.train.step.losses` and
`snrlab.train.optim.registry`, which load through the entry points `snrlab.strategies`); they are named here because a
run file names one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from snrlab.core.registries.registry import Choice, Entry, KohyaProperties, P, Properties, Registry, load_plugins


@dataclass(frozen=True)
class NoiseProperties(KohyaProperties):
    """What the program has to know of a noise shape.

    Attributes:
        changes: what it does to the noise that a table by timestep does not show; empty for Gaussian noise.
    """

    changes: str = ""


NOISES = Registry("noise", properties=NoiseProperties)


Shape = tuple[int, ...]


@dataclass(frozen=True)
class LossProperties(Properties):
    """What the program has to know of a loss.

    Attributes:
        changes: what it does to the objective, where it is not the squared error that a recipe's weights are for.
    """

    changes: str = ""


@dataclass(frozen=True)
class OptimizerProperties(Properties):
    """What a run has to know of an optimizer.

    Attributes:
        state_bytes: shape of a weight to the bytes that are kept for it between steps.
        class_name: what kohya's metadata calls it; empty where a parameter `path` names the class.
        requires: the package that it is from, where that is no dependency of snrlab.
        extra: snrlab's extra that installs that package.
        one_by_one: each weight can be updated on its own, which fused_backward and weights = "bf16" do.
        one_rate: all weights have the same learning rate.
        finds_rate: it estimates the rate, and learning_rate multiplies that.
        own_schedule: it needs no schedule beyond warm-up.
        averages: it has an average of the weights, which is what is sampled and saved.
        paged: its state lies in memory that the GPU shares with the CPU.
    """

    state_bytes: Callable[[Shape], int]
    class_name: str = ""
    requires: str = ""
    extra: str = "optim"
    one_by_one: bool = False
    one_rate: bool = False
    finds_rate: bool = False
    own_schedule: bool = False
    averages: bool = False
    paged: bool = False


LOSSES = Registry("loss", properties=LossProperties)
OPTIMIZERS = Registry("optimizer", properties=OptimizerProperties)


def loaded(registry: Registry[P], name: str) -> Entry[P]:
    """An entry; where its module is not loaded yet, every plug-in is.

    >>> loaded(OPTIMIZERS, "custom").properties.one_by_one
    False
    """
    if name not in registry:
        load_plugins()
    return registry[name]


def usual(registry: Registry[P], name: str) -> Choice[P]:
    """An entry with its defaults, loaded.

    >>> usual(OPTIMIZERS, "adamw").params["beta1"]
    0.9
    """
    return loaded(registry, name).bind()


def kohya_optimizer(choice: Choice[OptimizerProperties]) -> str:
    """An optimizer as kohya's metadata writes it, class and arguments.

    >>> kohya_optimizer(usual(OPTIMIZERS, "adamw"))
    'torch.optim.AdamW(eps=1e-08,weight_decay=0.01,betas=(0.9, 0.999))'
    """
    params = choice.params
    name = choice.entry.properties.class_name or params.pop("path").replace(":", ".")
    if "beta1" in params:
        params["betas"] = (params.pop("beta1"), params.pop("beta2"))
    shown = params.pop("args", None) or ",".join(f"{key}={value}" for key, value in params.items())
    return f"{name}({shown})"
