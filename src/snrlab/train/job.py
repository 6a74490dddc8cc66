"""Everything a run needs in memory, made from its configuration before the first step.

Whatever can be wrong is found here, before anything is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from snrlab.config.recipe import build_recipe, state_recipe
from snrlab.config.run import RunConfig
from snrlab.core.draws import data_index, stream
from snrlab.core.errors import UserError
from snrlab.core.findings import Finding, findings, refuse_errors
from snrlab.core.recipe import Recipe
from snrlab.core.schedule import SCHEDULES, NoiseSchedule, recognise
from snrlab.data.captions import vary
from snrlab.data.examples import Examples, load_examples
from snrlab.models.components import Components
from snrlab.models.encode import encode_captions, encode_pixels, encode_tokens, tokenize
from snrlab.models.lora import add_lora, lora_parameters
from snrlab.models.source import load_base
from snrlab.train.draws import Draws, Slots
from snrlab.train.objective import Objective

TRAINABLE = ("epsilon", "v_prediction", "sample")


@dataclass(frozen=True, eq=False)
class Conditions:
    """Latents and text of the examples, encoded once.

    Attributes:
        latents: [N, C, h, w]; mirrored: the same of the mirrored images, or None without flips.
        embeddings: [captions + 1, L, D], the last of the empty caption; None where captions vary or
            the text encoder is trained, then they are encoded at every step.
    """

    latents: Tensor
    mirrored: Tensor | None
    embeddings: Tensor | None
    captions: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class HeldBack:
    """Examples for validation: latents [N, C, h, w], captions and names."""

    latents: Tensor
    captions: tuple[str, ...]
    names: tuple[str, ...]


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
    optimizer: torch.optim.AdamW
    ema: EMAModel | None
    device: torch.device

    @property
    def total(self) -> int:
        """Slots in the global batch."""
        return self.config.train.batch_size * self.config.train.gradient_accumulation

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

    def examples(self, step: int, slots: Slots) -> tuple[int, list[int]]:
        """(epoch of the first slot, indices of the examples) for the slots of a step."""
        found = [data_index(self.config.seed, step, int(s), self.total, len(self.conditions.latents)) for s in slots]
        return found[0][0], [index for _, index in found]

    def batch(self, step: int, slots: Slots) -> tuple[Tensor, Tensor]:
        """Clean latents [B, C, h, w] and text embeddings [B, L, D] of the slots."""
        _, indices = self.examples(step, slots)
        x0 = self.conditions.latents[indices]
        if self.conditions.mirrored is not None:
            flipped = torch.from_numpy(self.objective.draws.flipped(step, slots))
            x0 = torch.where(flipped.view(-1, 1, 1, 1), self.conditions.mirrored[indices], x0)
        dropped = self.objective.draws.dropped(step, slots, self.config.data.caption_dropout)
        if self.conditions.embeddings is not None:
            rows = np.where(dropped, len(self.conditions.latents), indices)
            return x0.to(self.device), self.conditions.embeddings[rows].to(self.device)
        captions = ["" if d else self._caption(step, s, i) for d, s, i in zip(dropped, slots, indices, strict=True)]
        return x0.to(self.device), encode_tokens(self.components, tokenize(self.components, captions))

    def _caption(self, step: int, slot: int, index: int) -> str:
        data = self.config.data
        rng = stream(self.config.seed, "caption", step, int(slot))
        return vary(self.conditions.captions[index], rng, shuffle=data.shuffle_tags, tag_dropout=data.tag_dropout)


def prepare(config: RunConfig) -> Job:
    """Load the model and the data, encode them, add the adapter: all that comes before step 0.

    Raises:
        UserError: anything wrong with the model, the data, the recipe or their combination.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    components = load_base(config.model, config.seed)
    config, recipe = resolve_recipe(config, components)
    tables = recipe.tables()
    found = findings(recipe, tables)
    refuse_errors(found)
    examples, held_back = load_examples(config.data, config.seed, config.validation.images)
    components.to(device).freeze()
    conditions, validation = _encode(config, components, examples, device), None
    if len(held_back):
        latents = encode_pixels(components, held_back.pixels, device)
        validation = HeldBack(latents, held_back.captions, held_back.names)
    parameters = _trainable(config, components)
    train = config.train
    draws = Draws(recipe, tables, config.seed, train.batch_size * train.gradient_accumulation)
    optimizer = torch.optim.AdamW(
        parameters.values(),
        lr=train.learning_rate,
        betas=(train.beta1, train.beta2),
        weight_decay=train.weight_decay,
        fused=True,
    )
    ema = EMAModel(list(parameters.values()), decay=train.ema) if train.ema else None
    objective = Objective.of(draws, device)
    return Job(config, recipe, found, components, conditions, validation, objective, parameters, optimizer, ema, device)


def _encode(config: RunConfig, components: Components, examples: Examples, device: torch.device) -> Conditions:
    data = config.data
    fixed_text = not (config.train.text_encoder or data.shuffle_tags or data.tag_dropout)
    return Conditions(
        latents=encode_pixels(components, examples.pixels, device),
        mirrored=encode_pixels(components, examples.pixels[:, :, ::-1].copy(), device) if data.flip else None,
        embeddings=encode_captions(components, [*examples.captions, ""]) if fixed_text else None,
        captions=examples.captions,
        names=examples.names,
    )


def resolve_recipe(config: RunConfig, components: Components) -> tuple[RunConfig, Recipe]:
    """The recipe with what it leaves open taken from the model, and the config that states it all.

    Raises:
        UserError: the config and the model disagree without `model.convert`, or nothing can train so.
    """
    own = SCHEDULES.bind("scheduler_config", config=json.dumps(components.scheduler_config))
    name, zero = recognise(own()) or (own, False)  # a name reads better than a copy of the config
    recipe = build_recipe(
        config.recipe, schedule=name, zero_terminal_snr=zero, prediction_type=components.prediction_type
    )
    if recipe.prediction_type not in TRAINABLE:
        raise UserError(
            f"recipe.prediction_type: {recipe.prediction_type} cannot be trained with this family; "
            f"allowed: {', '.join(TRAINABLE)}."
        )
    if recipe.noise_schedule().path != "variance_preserving":
        raise UserError(f"recipe.schedule: {recipe.schedule.name} is not variance preserving; this family needs that.")
    if not config.model.convert:
        _refuse_disagreement(recipe, own(), components)
    return config.model_copy(update={"recipe": state_recipe(recipe)}), recipe


def _refuse_disagreement(recipe: Recipe, own: NoiseSchedule, components: Components) -> None:
    table, model_table = recipe.noise_schedule().alphas_cumprod, own.alphas_cumprod
    way_out = "Leave it out to follow the model, or set model.convert = true to train it over."
    if recipe.prediction_type != components.prediction_type:
        raise UserError(
            f"recipe.prediction_type is {recipe.prediction_type}, but {components.label} says it predicts "
            f"{components.prediction_type}. {way_out}"
        )
    if len(table) != len(model_table) or not np.allclose(table, model_table, rtol=1e-6, atol=1e-12):
        zero = recipe.noise_schedule().terminal_snr_is_zero
        what = "recipe.zero_terminal_snr" if zero != (model_table[-1] == 0) else "recipe.schedule"
        raise UserError(f"{what} differs from the schedule of {components.label}. {way_out}")


def _trainable(config: RunConfig, components: Components) -> dict[str, nn.Parameter]:
    train = config.train
    if train.method == "lora":
        alpha = config.lora.alpha or float(config.lora.rank)
        if config.model.precision == "bf16":
            components.unet.to(torch.bfloat16)
        rank, layers = config.lora.rank, config.lora.layers
        add_lora(components, rank=rank, alpha=alpha, layers=layers, text_encoder=train.text_encoder, seed=config.seed)
        return dict(lora_parameters(components))
    found = {f"unet.{n}": p for n, p in components.unet.named_parameters()}
    if train.text_encoder:
        found |= {f"text_encoder.{n}": p for n, p in components.text_encoder.named_parameters()}
    for parameter in found.values():
        parameter.requires_grad_(True)
    return found
