"""Everything a run needs in memory, made from its configuration before the first step.

Whatever can be wrong is found here, before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from diffusers.training_utils import EMAModel
from torch import nn

from snrlab.config.run import RunConfig
from snrlab.core.findings import Finding, findings, refuse_errors
from snrlab.core.recipe import Recipe
from snrlab.data.examples import load_examples
from snrlab.models.components import Components
from snrlab.models.save_single_file import refuse_unsavable
from snrlab.models.source import DTYPES, load_base
from snrlab.train.conditions import Conditions, HeldBack, encode_examples, encode_held_back
from snrlab.train.draws import Draws
from snrlab.train.objective import Objective
from snrlab.train.optimizer import make_optimizer
from snrlab.train.resolve import resolve_recipe, trained_scheduler
from snrlab.train.trainable import Trainable, trainable


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
    trained: Trainable
    optimizer: torch.optim.AdamW
    ema: EMAModel | None
    device: torch.device

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The weights that are trained, by name."""
        return self.trained.parameters

    @property
    def total(self) -> int:
        """Slots in the global batch."""
        return self.objective.draws.total

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the networks hold the averaged weights, where the run keeps an average."""
        if self.ema is None:
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
    frozen = DTYPES[config.model.precision] if config.train.method == "lora" else torch.float32
    components = load_base(config.model, config.seed, frozen)
    config, recipe = resolve_recipe(config, components)
    if config.train.method == "full" and config.single_file:
        refuse_unsavable(replace(components, scheduler_config=trained_scheduler(components, recipe)))
    tables = recipe.tables()
    found = findings(recipe, tables)
    refuse_errors(found)
    examples, held_back = load_examples(config.data, config.seed, config.validation.images)
    components.to(device).freeze()
    train = config.train
    draws = Draws(recipe, tables, config.seed, train.batch_size * train.gradient_accumulation)
    conditions = encode_examples(config, components, draws, examples, device)
    validation = encode_held_back(components, held_back, device)
    trained = trainable(config, components)
    optimizer = make_optimizer(train, trained)
    ema = EMAModel(list(trained.parameters.values()), decay=train.ema) if train.ema else None
    objective = Objective.of(draws, device)
    return Job(config, recipe, found, components, conditions, validation, objective, trained, optimizer, ema, device)
