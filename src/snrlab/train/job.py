"""The job: a run in memory, ready to train. It is prepared from the run's configuration before the first step.

Whatever can be wrong with the configuration is reported here, before anything is written.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
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
from snrlab.core.registries.samplers import check_sampler
from snrlab.data.dataset import find, select_items
from snrlab.data.items import Item
from snrlab.data.validation_folder import validation_items
from snrlab.distributed import SINGLE, Processes
from snrlab.lab.tables import describe
from snrlab.model_files.resolve import resolve_to_train, trained_scheduler
from snrlab.models.arithmetic import borrowed, release
from snrlab.models.components import ENCODERS, Components
from snrlab.models.load_for_run import load_for_run, model_name
from snrlab.models.storage.save_single_file import refuse_unsavable
from snrlab.pictures.ddim import ends_without_signal
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

PROBE_IMAGES = 4  # images at each noise level
FP16_ON_CPU = Finding(
    "fp16_on_cpu",
    "warning",
    "model.precision is fp16 and there is no GPU: few CPUs compute in fp16, and the gradients of convolution weights "
    "are some hundred times slower in it than in bf16 on any.",
    'Use "bf16" or "fp32".',
)


@dataclass(frozen=True, eq=False)
class Job:
    """A run ready to train.

    Attributes:
        config: with epochs turned into steps, and the recipe as the model settles it.
        recipe: the training objective.
        findings: what the recipe and the probe of the model have to say.
        components: the model, with adapters on it where a LoRA is trained.
        examples: encoded images and captions to train on.
        validation_set: encoded images and captions to measure on; None where nothing is validated.
        draws: the random tensors of every step.
        objective: the loss of a forward pass.
        trained: the trained weights and their learning rates.
        optimizer: the optimizer over them.
        ema: their running average, or None.
        loss_scale: the factor on the loss that fp16 needs.
        processes: the processes that train together.
    """

    config: RunConfig
    recipe: Recipe
    findings: list[Finding]
    components: Components
    examples: TrainingExamples
    validation_set: ValidationExamples | None
    draws: StepRandomness
    objective: Objective
    trained: Trainable
    optimizer: RunOptimizer
    ema: WeightAverage | None
    loss_scale: LossScale
    processes: Processes

    @property
    def device(self) -> torch.device:
        """The device on which this process trains."""
        return self.processes.device

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The trained weights by name."""
        return self.trained.parameters

    @property
    def total(self) -> int:
        """Slots in the global batch, over all processes."""
        return self.draws.total

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Context in which the networks hold the averaged weights, if the run or its optimizer keeps an average."""
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


@dataclass(frozen=True, eq=False)
class RunImages:
    """The images of a run before any is decoded.

    Attributes:
        config: the run's configuration, with epochs turned into steps.
        training: images to train on.
        validation: images to measure on, none of which is trained on.
    """

    config: RunConfig
    training: tuple[Item, ...]
    validation: tuple[Item, ...]


def find_images(config: RunConfig, processes: Processes = SINGLE) -> RunImages:
    """Find the images of a run; the length of an epoch, and so the number of steps, follows from them.

    Raises:
        UserError: anything wrong with the image folders, an optimizer that is not installed, or a stage of the recipe
            that starts after the last step.
    """
    refuse_missing_optimizer(config.train.optimizer.name)
    discovery = find(config.data)
    for message in discovery.all_notes:
        logger.info(message)
    validation_count, batch_size = config.validation.images, config.train.batch_size
    training, validation = select_items(
        discovery, config.data, seed=config.seed, hold_back=validation_count, batch_size=batch_size
    )
    if config.validation.folder is not None:
        validation = validation_items(config.data, config.validation.folder, training)
    train = config.train.in_steps(sum(item.repeats for item in training), processes.count)
    last = config.recipe.stages[-1].from_step if config.recipe.stages else 0
    if last >= train.steps:
        raise UserError(
            f"recipe.stages: from_step is {last}, but the run ends after {train.steps} steps.", code="out-of-range"
        )
    batch = train.batch_size * train.gradient_accumulation * processes.count
    measured = config.validation.in_steps(train.steps, batch, len(validation))
    return RunImages(config.model_copy(update={"train": train, "validation": measured}), training, tuple(validation))


def prepare(config: RunConfig, processes: Processes = SINGLE, images: RunImages | None = None) -> Job:
    """Load the model, encode the images and captions and add the adapter: all that comes before step 0.

    Args:
        config: the run.
        processes: the processes that train it together.
        images: its images, where `find_images` has found them already.

    Raises:
        UserError: anything wrong with the model, the data, the recipe or their combination.
    """
    loaded = processes.all_or_none(lambda: _load(images or find_images(config, processes), processes))
    components, device = loaded.components, processes.device
    encoders = set(components.networks) - {"unet"}  # the UNet comes when they have made room
    with borrowed(components, encoders, device):
        examples = encode_examples(
            loaded.config, components, loaded.draws, loaded.images.training, device, processes=processes
        )
        validation_set = encode_validation_examples(
            loaded.config, components, loaded.images.validation, device, processes=processes
        )
    components.to(device)
    return processes.all_or_none(lambda: _assemble(loaded, examples, validation_set, processes))


@dataclass(frozen=True, eq=False)
class _LoadedRun:
    """A run whose model is loaded and whose recipe fits it; no image is decoded yet."""

    config: RunConfig
    components: Components
    images: RunImages
    draws: StepRandomness
    findings: list[Finding]


def _load(images: RunImages, processes: Processes) -> _LoadedRun:
    """Load the model and settle the recipe on it."""
    config = images.config
    logger.info(f"loading the model {model_name(config.model)} ...")
    components = load_for_run(config)
    if config.data.cache:
        warning = tight_cache(config, images.training, components, cache_folder(config))
        if warning is not None:
            logger.log(warning.level, "%s", warning)
    config, recipe = resolve_to_train(config, components.facts)
    if config.train.method == "full" and config.single_file:
        refuse_unsavable(replace(components, scheduler_config=trained_scheduler(components.scheduler_config, recipe)))
    logger.info(f"recipe: {describe(recipe)}")
    train, tables = config.train, recipe.tables()
    recipe_findings = findings(recipe, tables)
    refuse_errors(recipe_findings)
    if config.sample.prompts:
        for name in config.sample.samplers:
            check_sampler(name, recipe.prediction_type, zero_terminal=ends_without_signal(tables.schedule))
    components.freeze()
    total = train.batch_size * train.gradient_accumulation * processes.count
    return _LoadedRun(
        config, components, images, StepRandomness(recipe, tables, config.seed_of_steps, total), recipe_findings
    )


def _assemble(
    loaded: _LoadedRun, examples: TrainingExamples, validation_set: ValidationExamples | None, processes: Processes
) -> Job:
    """Make the networks trainable, and the optimizer and the objective of the run."""
    config, components, draws = loaded.config, loaded.components, loaded.draws
    train, device = config.train, processes.device
    probed = _probe_findings(config, draws.recipe, components, examples, device)
    set_up_networks(config, components)
    trained = trainable(config, components, processes.count)
    _release_networks(config, components, examples)
    logger.debug(f"{train.optimizer.name} trains {len(trained.parameters)} tensors on {device}")
    return Job(
        config=config,
        recipe=draws.recipe,
        findings=[*loaded.findings, *probed],
        components=components,
        examples=examples,
        validation_set=validation_set,
        draws=draws,
        objective=Objective.of(draws, device, train.loss),
        trained=trained,
        optimizer=make_optimizer(train, trained, config.seed_of_steps, processes),
        ema=WeightAverage(list(trained.parameters.values()), decay=train.ema) if train.ema else None,
        loss_scale=LossScale.of(half=components.arithmetic == torch.float16),
        processes=processes,
    )


def _probe_findings(
    config: RunConfig, recipe: Recipe, components: Components, examples: TrainingExamples, device: torch.device
) -> list[Finding]:
    """The finding of the probe, and a warning about a precision in which the device computes slowly."""
    probed = []
    if config.model.precision == "fp16" and device.type == "cpu":
        probed.append(FP16_ON_CPU)
    if config.model.probe and not config.model.convert and config.model.random is None:
        slots = np.arange(min(config.train.batch_size, PROBE_IMAGES))
        batches = [examples.batch(components, step, slots, device) for step in range(len(LEVELS))]
        finding = probe(components, recipe.noise_schedule(), batches).finding(components, recipe.prediction_type)
        probed += [finding] if finding is not None else []
    return probed


def _release_networks(config: RunConfig, components: Components, examples: TrainingExamples) -> None:
    """Free the networks that no step needs: those needed later, to sample or to save, wait on the CPU."""
    networks = components.networks
    encoders = set(networks) & set(ENCODERS)
    trained = {name for name, network in networks.items() if any(p.requires_grad for p in network.parameters())}
    later: set[str] = set()
    if config.train.method == "full":
        later |= set(networks)  # they are saved too
    if config.sample.prompts:
        later |= encoders | {"vae"}
    each_step = encoders if examples.needs_text_encoders else set()
    if examples.needs_autoencoder:
        each_step |= {"vae"}
    release(components, keep={"unet"} | trained | each_step, later=later)
