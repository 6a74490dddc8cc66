"""Everything a run needs in memory, made from its configuration before the first step.

Whatever can be wrong is found here, before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from diffusers.training_utils import EMAModel
from torch import nn

from snrlab.config.run import RunConfig
from snrlab.core.findings import Finding, findings, refuse_errors
from snrlab.core.recipe import Recipe
from snrlab.data.examples import load_examples
from snrlab.models.components import Components
from snrlab.models.source import load_base
from snrlab.train.conditions import Conditions, HeldBack, encode_examples, encode_held_back
from snrlab.train.draws import Draws
from snrlab.train.loss_scale import LossScale
from snrlab.train.networks import set_up_networks
from snrlab.train.objective import Objective
from snrlab.train.optimizer import RunOptimizer, evaluating, make_optimizer
from snrlab.train.optimizer_facts import refuse_missing
from snrlab.train.resolve import resolve_recipe
from snrlab.train.trainable import trainable


@dataclass(frozen=True, eq=False)
class Job:
    """A run ready to train; `held_back` is None where nothing is validated."""

    config: RunConfig
    recipe: Recipe
    found: list[Finding]
    components: Components
    conditions: Conditions
    held_back: HeldBack | None
    objective: Objective
    parameters: dict[str, nn.Parameter]
    optimizer: RunOptimizer
    ema: EMAModel | None
    loss_scale: LossScale
    device: torch.device

    @property
    def total(self) -> int:
        """Slots in the global batch."""
        return self.objective.draws.total

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the networks hold the averaged weights, where the run or its optimizer keeps an average."""
        if self.ema is None:
            with evaluating(self.optimizer, self.parameters):
                yield
            return
        self.ema.store(self.parameters.values())
        self.ema.copy_to(self.parameters.values())
        try:
            yield
        finally:
            self.ema.restore(self.parameters.values())


def prepare(config: RunConfig) -> Job:
    """Load the model and the data, encode them, add the adapter: all that comes before step 0.

    Raises:
        UserError: anything wrong with the model, the data, the recipe or their combination.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    refuse_missing(config.train.optimizer.name)
    components = load_base(config.model, config.seed)
    config, recipe = resolve_recipe(config, components)
    tables = recipe.tables()
    found = findings(recipe, tables)
    refuse_errors(found)
    examples, held_back = load_examples(config.data, config.seed, config.validation.images)
    config = config.model_copy(update={"train": config.train.in_steps(len(examples))})
    components.to(device).freeze()
    train = config.train
    draws = Draws(recipe, tables, config.seed, train.batch_size * train.gradient_accumulation)
    conditions = encode_examples(config, components, draws, examples, device)
    validation = encode_held_back(components, held_back, device)
    set_up_networks(config, components)
    trained = trainable(config, components)
    parameters, optimizer = trained.parameters, make_optimizer(train, trained, config.seed)
    ema = EMAModel(list(parameters.values()), decay=train.ema) if train.ema else None
    return Job(
        config=config,
        recipe=recipe,
        found=found,
        components=components,
        conditions=conditions,
        held_back=validation,
        objective=Objective.of(draws, device, train.loss),
        parameters=parameters,
        optimizer=optimizer,
        ema=ema,
        loss_scale=LossScale.of(half=components.unet.dtype == torch.float16),
        device=device,
    )
