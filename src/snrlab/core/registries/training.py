"""The registries of losses and optimizers: what a training step does with the error, and with the gradient.

Their entries act on tensors and are defined where tensors are (`snrlab.train.step.losses` and
`snrlab.train.optim.registry`, which load through the entry points `snrlab.strategies`); they are named here because a
run file names one.
"""

from __future__ import annotations

from snrlab.core.registries.registry import Choice, Registry, load_plugins

LOSSES = Registry("loss")
OPTIMIZERS = Registry("optimizer")


def usual(registry: Registry, name: str) -> Choice:
    """An entry with its defaults; where its module is not loaded yet, every plug-in is.

    >>> usual(OPTIMIZERS, "adamw").params["beta1"]
    0.9
    """
    if name not in registry:
        load_plugins()
    return registry.bind(name)


def kohya_optimizer(choice: Choice) -> str:
    """An optimizer as kohya's metadata writes it, class and arguments.

    >>> kohya_optimizer(usual(OPTIMIZERS, "adamw"))
    'torch.optim.AdamW(eps=1e-08,weight_decay=0.01,betas=(0.9, 0.999))'
    """
    params = choice.params
    name = choice.entry.facts.get("class_name") or params.pop("path").replace(":", ".")
    if "beta1" in params:
        params["betas"] = (params.pop("beta1"), params.pop("beta2"))
    shown = params.pop("args", None) or ",".join(f"{key}={value}" for key, value in params.items())
    return f"{name}({shown})"
