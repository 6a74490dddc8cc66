"""Everything a run needs in memory, made from its configuration before the first step.

Whatever can be wrong is found here, before anything is written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from snrlab.config.run import RunConfig
from snrlab.core.errors import UserError
from snrlab.core.findings.finding import Finding
from snrlab.core.findings.recipe_findings import findings, refuse_errors
from snrlab.core.recipe import Recipe
from snrlab.data.dataset import find, settle
from snrlab.data.items import Item
from snrlab.data.validation_folder import validation_items
from snrlab.distributed import SINGLE, Processes
from snrlab.lab.tables import describe
from snrlab.model_files.resolve import resolve_to_train, trained_scheduler
from snrlab.models.arithmetic import borrowed, release
from snrlab.models.components import ENCODERS, Components
from snrlab.models.load_for_run import load_for_run, model_name
from snrlab.models.storage.save_single_file import refuse_unsavable
from snrlab.train.inputs.cache_folder import cache_folder, tight_cache
from snrlab.train.inputs.examples import TrainingExamples, encode_examples
from snrlab.train.inputs.validation_examples import ValidationExamples, encode_validation_examples
from snrlab.train.networks import set_up_networks
from snrlab.train.optim.loss_scale import LossScale
from snrlab.train.optim.optimizer import RunOptimizer, evaluating, make_optimizer
from snrlab.train.optim.properties import refuse_missing_optimizer
from snrlab.train.optim.trainable import Trainable, trainable
from snrlab.train.optim.weight_average import WeightAverage
from snrlab.train.probe import LEVELS, probe
from snrlab.train.step.draws import StepRandomness
from snrlab.train.step.objective import Objective

logger = logging.getLogger(__name__)

PROBED = 4  # pictures at each noise level
FP16_ON_CPU = Finding(
    "fp16_on_cpu",
    "warning",
    "model.precision is fp16 and there is no GPU: few CPUs compute in fp16, and the gradients of convolution weights "
    "are some hundred times slower in it than in bf16 on any.",
    'Use "bf16" or "fp32".',
)


@dataclass(frozen=True, eq=False)
class Job:
    """A run ready to train; `held_back` is None where nothing is validated."""

    config: RunConfig
    recipe: Recipe
    found: list[Finding]
    components: Components
    conditions: TrainingExamples
    held_back: ValidationExamples | None
    draws: StepRandomness
    objective: Objective
    trained: Trainable
    optimizer: RunOptimizer
    ema: WeightAverage | None
    loss_scale: LossScale
    processes: Processes

    @property
    def device(self) -> torch.device:
        """Where this process trains."""
        return self.processes.device

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The weights that are trained, by name."""
        return self.trained.parameters

    @property
    def total(self) -> int:
        """Slots in the global batch, of all processes."""
        return self.draws.total

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


Look = Callable[[RunConfig, tuple[Item, ...], tuple[Item, ...]], None]


def prepare(
    config: RunConfig,
    look: Look = lambda config, items, held_back: None,
    processes: Processes = SINGLE,
) -> Job:
    """Load the model and the data, encode them, add the adapter: all that comes before step 0.

    Args:
        config: the run.
        look: shown the images to train on and those held back, before anything is decoded or loaded; in the main
            process only.
        processes: those that train it together.

    Raises:
        UserError: anything wrong with the model, the data, the recipe or their combination.
    """
    opened = processes.agreed(lambda: _open(config, look, processes))
    components, device = opened.components, processes.device
    encoders = set(components.networks) - {"unet"}  # the UNet comes when they have made room
    with borrowed(components, encoders, device):
        conditions = encode_examples(opened.config, components, opened.draws, opened.items, device, processes=processes)
        held_back = encode_validation_examples(opened.config, components, opened.held_back, device, processes=processes)
    components.to(device)
    return processes.agreed(lambda: _set_up(opened, conditions, held_back, processes))


@dataclass(frozen=True, eq=False)
class _Opened:
    """A run whose parts are there and fit; no image is decoded yet."""

    config: RunConfig
    components: Components
    items: tuple[Item, ...]
    held_back: tuple[Item, ...]
    draws: StepRandomness
    found: list[Finding]


def _open(config: RunConfig, look: Look, processes: Processes) -> _Opened:
    """Look at the images, load the model, and settle the recipe."""
    refuse_missing_optimizer(config.train.optimizer.name)
    config, items, held_back = _images(config, processes)
    if processes.main:
        look(config, items, held_back)
    logger.info(f"loading the model {model_name(config.model)} ...")
    components = load_for_run(config)
    tight = tight_cache(config, items, components, cache_folder(config)) if config.data.cache else None
    if tight:
        logger.log(tight.level, "%s", tight)
    config, recipe = resolve_to_train(config, components.facts)
    if config.train.method == "full" and config.single_file:
        refuse_unsavable(replace(components, scheduler_config=trained_scheduler(components.scheduler_config, recipe)))
    logger.info(f"recipe: {describe(recipe)}")
    train, tables = config.train, recipe.tables()
    found = findings(recipe, tables)
    refuse_errors(found)
    components.freeze()
    total = train.batch_size * train.gradient_accumulation * processes.count
    return _Opened(config, components, items, held_back, StepRandomness(recipe, tables, config.seed, total), found)


def _set_up(
    opened: _Opened, conditions: TrainingExamples, held_back: ValidationExamples | None, processes: Processes
) -> Job:
    """The networks as they are trained, their optimizer, and what a step needs."""
    config, components, draws = opened.config, opened.components, opened.draws
    train, device = config.train, processes.device
    probed = _probed(config, draws.recipe, components, conditions, device)
    set_up_networks(config, components)
    trained = trainable(config, components, processes.count)
    _release(config, components, conditions)
    logger.debug(f"{train.optimizer.name} trains {len(trained.parameters)} tensors on {device}")
    return Job(
        config=config,
        recipe=draws.recipe,
        found=[*opened.found, *probed],
        components=components,
        conditions=conditions,
        held_back=held_back,
        draws=draws,
        objective=Objective.of(draws, device, train.loss),
        trained=trained,
        optimizer=make_optimizer(train, trained, config.seed, processes),
        ema=WeightAverage(list(trained.parameters.values()), decay=train.ema) if train.ema else None,
        loss_scale=LossScale.of(half=components.arithmetic == torch.float16),
        processes=processes,
    )


def _images(config: RunConfig, processes: Processes) -> tuple[RunConfig, tuple[Item, ...], tuple[Item, ...]]:
    """(the run with its epochs as steps, images to train on, images to validate on); none of them decoded."""
    found = find(config.data)
    for remark in found.remarks:
        logger.info(remark)
    hold_back, batch_size = config.validation.images, config.train.batch_size
    items, held_back = settle(found, config.data, seed=config.seed, hold_back=hold_back, batch_size=batch_size)
    if config.validation.folder is not None:
        held_back = validation_items(config.data, config.validation.folder, items)
    train = config.train.in_steps(sum(item.repeats for item in items), processes.count)
    last = config.recipe.stages[-1].from_step if config.recipe.stages else 0
    if last >= train.steps:
        raise UserError(
            f"recipe.stages: from_step is {last}, but the run ends after {train.steps} steps.", code="out-of-range"
        )
    return config.model_copy(update={"train": train}), items, tuple(held_back)


def _probed(
    config: RunConfig, recipe: Recipe, components: Components, conditions: TrainingExamples, device: torch.device
) -> list[Finding]:
    """What the probe finds, and the warning of an arithmetic that the device is bad at."""
    found = []
    if config.model.precision == "fp16" and device.type == "cpu":
        found.append(FP16_ON_CPU)
    if config.model.probe and not config.model.convert and config.model.random is None:
        slots = np.arange(min(config.train.batch_size, PROBED))
        batches = [conditions.batch(components, step, slots, device) for step in range(len(LEVELS))]
        remark = probe(components, recipe.noise_schedule(), batches).finding(components, recipe.prediction_type)
        found += [remark] if remark is not None else []
    return found


def _release(config: RunConfig, components: Components, conditions: TrainingExamples) -> None:
    """Free what the steps do not need: what is drawn with or saved later waits on the CPU, the rest is gone."""
    networks = components.networks
    encoders = set(networks) & set(ENCODERS)
    trained = {name for name, network in networks.items() if any(p.requires_grad for p in network.parameters())}
    later: set[str] = set()
    if config.train.method == "full":
        later |= set(networks)  # they are saved too
    if config.sample.prompts:
        later |= encoders | {"vae"}
    each_step = encoders if conditions.needs_text_encoders else set()
    if conditions.needs_autoencoder:
        each_step |= {"vae"}
    release(components, keep={"unet"} | trained | each_step, later=later)
