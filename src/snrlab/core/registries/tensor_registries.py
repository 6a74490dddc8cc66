"""Registries of noise shapes, losses and optimizers, whose entries act on tensors.

The entries are defined in modules that import torch (`snrlab.train.step.noise`, `snrlab.train.step.losses` and
`snrlab.train.optim.registry`, loaded through the entry points `snrlab.strategies`). The registries are here because
run files refer to their entries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from snrlab.core.registries.registry import Choice, Entry, KohyaProperties, P, Properties, Registry, load_plugins


@dataclass(frozen=True)
class NoiseProperties(KohyaProperties):
    """Properties of a noise shape.

    Attributes:
        changes: its effect on the noise, which a table by timestep does not show; empty for Gaussian noise.
    """

    changes: str = ""


NOISES = Registry("noise", properties=NoiseProperties)


Shape = tuple[int, ...]


@dataclass(frozen=True)
class LossProperties(Properties):
    """Properties of a loss.

    Attributes:
        changes: its effect on the objective, if it is not the squared error that recipes' weights are for.
    """

    changes: str = ""


@dataclass(frozen=True)
class OptimizerProperties(Properties):
    """Properties of an optimizer.

    Attributes:
        state_bytes: function from the shape of a weight to the bytes of its state between steps.
        class_name: class in kohya's metadata; empty where the parameter `path` names the class.
        requires: package of the optimizer, if it is not a dependency of snrlab.
        extra: extra of snrlab that installs that package.
        one_by_one: each weight can be updated separately, which fused_backward and weights = "bf16" need.
        one_rate: all weights must have the same learning rate.
        finds_rate: the optimizer estimates the rate, and learning_rate multiplies its estimate.
        own_schedule: no schedule is needed beyond warm-up.
        averages: the optimizer keeps an average of the weights, which is sampled and saved.
        paged: the state lies in memory that GPU and CPU share.
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


def load_entry(registry: Registry[P], name: str) -> Entry[P]:
    """The entry of a name; if it is not registered yet, all plug-ins are imported first.

    >>> load_entry(OPTIMIZERS, "custom").properties.one_by_one
    False
    """
    if name not in registry:
        load_plugins()
    return registry[name]


def default_choice(registry: Registry[P], name: str) -> Choice[P]:
    """The entry of a name bound to its defaults, imported if necessary.

    >>> default_choice(OPTIMIZERS, "adamw").params["beta1"]
    0.9
    """
    return load_entry(registry, name).bind()


def kohya_optimizer(choice: Choice[OptimizerProperties]) -> str:
    """An optimizer in the form of kohya's metadata: class and arguments.

    >>> kohya_optimizer(default_choice(OPTIMIZERS, "adamw"))
    'torch.optim.AdamW(eps=1e-08,weight_decay=0.01,betas=(0.9, 0.999))'
    """
    params = choice.params
    name = choice.entry.properties.class_name or params.pop("path").replace(":", ".")
    if "beta1" in params:
        params["betas"] = (params.pop("beta1"), params.pop("beta2"))
    arguments = params.pop("args", None) or ",".join(f"{key}={value}" for key, value in params.items())
    return f"{name}({arguments})"
