"""Tiny models of the families with an adapter that has gone somewhere, and what such a model makes of fixed inputs."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

import tiny_families
from snrlab.config.sections.lora import LoraConfig
from snrlab.model_files import families
from snrlab.model_files.families import Family
from snrlab.models.components import Components
from snrlab.models.lora.adapters import add_lora, lora_parameters

CONV = ["attention", "feed_forward", "convolution"]


def fresh(family: Family) -> Components:
    """The same random weights each time, frozen."""
    model = tiny_families.family(family)
    model.freeze()
    return model


def parts(family: Family) -> list[str]:
    """Networks that can have an adapter."""
    return [part for part in families.PARTS[family] if part != "vae"]


def trained(family: Family, lora: dict[str, Any], on: list[str] | None = None) -> Components:
    """With an adapter on these networks (all by default) whose matrices, and lengths, are somewhere."""
    model = fresh(family)
    add_lora(model, LoraConfig(**{"rank": 4, **lora}), on or parts(family), seed=0)
    generator = torch.Generator().manual_seed(2)
    for _, parameter in lora_parameters(model):
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def pipeline(model: Components) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    """The libraries' own, over the same networks."""
    scheduler = DDIMScheduler.from_config(model.scheduler_config)
    one = (model.vae, model.text_encoder)
    if model.text_encoder_2 is not None:
        two = (model.text_encoder_2, model.tokenizer, model.tokenizer_2)
        return StableDiffusionXLPipeline(*one, *two, model.unet, scheduler)
    return StableDiffusionPipeline(*one, model.tokenizer, model.unet, scheduler, None, None, None, False)


@torch.no_grad()
def predict(model: Components) -> torch.Tensor:
    """What the networks make of two captions and noisy latents [2, 4, 8, 8], all of them involved."""
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([10, 500])
    length = model.text_encoder.config.max_position_embeddings
    padded = {"padding": "max_length", "max_length": length, "return_tensors": "pt"}
    ids = model.tokenizer(["a red fox", "b"], **padded).input_ids
    first = model.text_encoder(ids, output_hidden_states=True)
    if model.text_encoder_2 is None:
        return model.unet(x, t, encoder_hidden_states=first[0]).sample
    second = model.text_encoder_2(ids, output_hidden_states=True)
    hidden = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
    conditions = {"text_embeds": second.text_embeds, "time_ids": torch.ones(2, 6)}
    return model.unet(x, t, encoder_hidden_states=hidden, added_cond_kwargs=conditions).sample
