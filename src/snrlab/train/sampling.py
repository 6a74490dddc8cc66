"""Pictures from the model as it is: fixed prompts, fixed noise, so that grids compare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from snrlab.config.run import SampleConfig
from snrlab.core.draws import stream
from snrlab.core.schedule import NoiseSchedule
from snrlab.models.components import Components

BATCH = 16
RESCALE_AT_ZERO_SNR = 0.7  # arXiv:2305.08891: guidance overexposes where the schedule ends without signal


def sampler(schedule: NoiseSchedule, prediction_type: str) -> DDIMScheduler:
    """DDIM over exactly the schedule that was trained, its last step included."""
    a = schedule.alphas_cumprod
    betas = 1 - a / np.r_[1.0, a[:-1]]
    return DDIMScheduler(
        num_train_timesteps=len(a),
        trained_betas=betas.tolist(),
        prediction_type=prediction_type,
        clip_sample=False,
        set_alpha_to_one=False,
        timestep_spacing="trailing",
        steps_offset=1,  # unused by this spacing; diffusers warns about any other value
    )


def pipeline(components: Components, schedule: NoiseSchedule, prediction_type: str) -> StableDiffusionPipeline:
    """A diffusers pipeline over the networks in memory; it shares them."""
    made = StableDiffusionPipeline(
        vae=components.vae,
        text_encoder=components.text_encoder,
        tokenizer=components.tokenizer,
        unet=components.unet,
        scheduler=sampler(schedule, prediction_type),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


@torch.no_grad()
def sample(pipe: StableDiffusionPipeline, config: SampleConfig, resolution: int) -> list[Image.Image]:
    """One picture per prompt, each from the noise of its place and the seed."""
    factor = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    shape = (pipe.unet.config.in_channels, resolution // factor, resolution // factor)
    zero = float(pipe.scheduler.alphas_cumprod[-1]) == 0
    pictures: list[Image.Image] = []
    for start in range(0, len(config.prompts), BATCH):
        prompts = config.prompts[start : start + BATCH]
        noise = [stream(config.seed, "sample", 0, start + i).standard_normal(shape) for i in range(len(prompts))]
        latents = torch.tensor(np.stack(noise), dtype=torch.float32, device=pipe.device)
        bf16 = pipe.unet.dtype == torch.bfloat16
        with torch.autocast(pipe.device.type, torch.bfloat16, enabled=bf16):
            pictures += pipe(
                prompts,
                negative_prompt=[config.negative] * len(prompts),
                latents=latents,
                num_inference_steps=config.steps,
                guidance_scale=config.guidance,
                guidance_rescale=RESCALE_AT_ZERO_SNR if zero else 0.0,
                height=resolution,
                width=resolution,
            ).images
    return pictures


def save_grid(pictures: Sequence[Image.Image], config: SampleConfig, path: Path, model: str) -> None:
    """The pictures side by side as a PNG that carries its parameters in the form web UIs read."""
    columns = math.ceil(math.sqrt(len(pictures)))
    width, height = pictures[0].size
    grid = Image.new("RGB", (columns * width, math.ceil(len(pictures) / columns) * height), "white")
    for place, picture in enumerate(pictures):
        grid.paste(picture, (place % columns * width, place // columns * height))
    facts = PngInfo()
    facts.add_text("parameters", parameters(config, (width, height), model))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    grid.save(temporary, format="PNG", pnginfo=facts)
    temporary.replace(path)


def parameters(config: SampleConfig, size: tuple[int, int], model: str) -> str:
    """Generation parameters in the text form of A1111."""
    return (
        f"{' | '.join(config.prompts)}\nNegative prompt: {config.negative}\n"
        f"Steps: {config.steps}, Sampler: DDIM, CFG scale: {config.guidance:g}, Seed: {config.seed}, "
        f"Size: {size[0]}x{size[1]}, Model: {model}"
    )
