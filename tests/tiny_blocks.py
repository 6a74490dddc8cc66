"""Tiny random models with the block structure of the families: what is where is as in the full size."""

from __future__ import annotations

from dataclasses import replace

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import tiny
from snrlab.models.components import Components
from snrlab.models.families import Family

WIDTH = {"sd1": 16, "sd2": 16, "sdxl": 32}  # of the text
TALKS = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D")


def components(family: Family) -> Components:
    """The same weights each time, frozen."""
    base = tiny.components()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = replace(base, unet=unet(family), text_encoder=CLIPTextModel(text_config(base)))
        if family == "sdxl":
            second = CLIPTextModelWithProjection(text_config(base, projection_dim=24, hidden_act="gelu"))
            found = replace(found, text_encoder_2=second, tokenizer_2=base.tokenizer)
    found.freeze()
    assert found.family == family
    return found


def unet(family: Family) -> UNet2DConditionModel:
    down, up = TALKS
    size = {"sample_size": 8, "layers_per_block": 2, "norm_num_groups": 4, "cross_attention_dim": WIDTH[family]}
    if family == "sdxl":
        return UNet2DConditionModel(
            **size, block_out_channels=(8, 16, 16), attention_head_dim=(1, 2, 2), use_linear_projection=True,
            down_block_types=("DownBlock2D", down, down), up_block_types=(up, up, "UpBlock2D"),
            transformer_layers_per_block=(1, 1, 2), addition_embed_type="text_time", addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 24,
        )  # fmt: skip
    return UNet2DConditionModel(
        **size, block_out_channels=(8, 8, 16, 16), attention_head_dim=2, use_linear_projection=family == "sd2",
        down_block_types=(down, down, down, "DownBlock2D"), up_block_types=("UpBlock2D", up, up, up),
    )  # fmt: skip


def text_config(base: Components, **more) -> CLIPTextConfig:
    tokenizer = base.tokenizer
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    tokens = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return CLIPTextConfig(vocab_size=len(tokenizer), max_position_embeddings=32, **sizes, **tokens, **more)


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
    """What the networks make of fixed captions and noisy latents, all of them involved."""
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([10, 500])
    ids = model.tokenizer(["a red fox", "b"], padding="max_length", max_length=32, return_tensors="pt").input_ids
    first = model.text_encoder(ids, output_hidden_states=True)
    if model.text_encoder_2 is None:
        return model.unet(x, t, encoder_hidden_states=first[0]).sample
    second = model.text_encoder_2(ids, output_hidden_states=True)
    hidden = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
    told = {"text_embeds": second.text_embeds, "time_ids": torch.ones(2, 6)}
    return model.unet(x, t, encoder_hidden_states=hidden, added_cond_kwargs=told).sample
