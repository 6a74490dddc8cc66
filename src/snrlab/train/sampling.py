"""Pictures from the model as it is: fixed prompts, fixed noise, so that grids compare."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from snrlab.config.output import SampleConfig
from snrlab.core.draws import stream
from snrlab.core.errors import UserError
from snrlab.core.schedule import NoiseSchedule
from snrlab.models.components import Components

BATCH = 16
RESCALE_AT_ZERO_SNR = 0.7  # arXiv:2305.08891: guidance overexposes where the schedule ends without signal


class ScaledDDIM(DDIMScheduler):
    """DDIM whose predicted noise is divided by `epsilon_scaling`, whatever the network predicts.

    Epsilon Scaling (Ning et al. 2024, arXiv:2308.15321): a network trained with input perturbation of
    strength gamma shrinks its noise estimate by sqrt(1 + gamma^2); this does it without training.
    """

    epsilon_scaling = 1.0

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        """One step, as the parent's."""
        if self.epsilon_scaling != 1:
            a = float(self.alphas_cumprod[int(timestep)])
            model_output = scale_epsilon(
                model_output, sample, self.config.prediction_type, a**0.5, (1 - a) ** 0.5, self.epsilon_scaling
            )
        return super().step(model_output, timestep, sample, *args, **kwargs)


def scale_epsilon(
    output: Tensor, x_t: Tensor, prediction_type: str, alpha: float, sigma: float, scale: float
) -> Tensor:
    """The network's output with the noise it implies divided by `scale`, x_t = alpha x0 + sigma epsilon kept.

    >>> float(scale_epsilon(torch.tensor(2.0), torch.tensor(0.5), "epsilon", 0.6, 0.8, 2.0))
    1.0
    """
    if prediction_type == "epsilon":
        return output / scale
    if prediction_type == "v_prediction":
        epsilon = alpha * output + sigma * x_t
        return output + (epsilon / scale - epsilon) / alpha
    epsilon = (x_t - alpha * output) / sigma
    return output - sigma * (epsilon / scale - epsilon) / alpha


def sampler(schedule: NoiseSchedule, prediction_type: str) -> ScaledDDIM:
    """DDIM over exactly the schedule that was trained, its last step included."""
    a = schedule.alphas_cumprod
    betas = 1 - a / np.r_[1.0, a[:-1]]
    return ScaledDDIM(
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
    """One picture per prompt, each from the noise of its place and the seed.

    Raises:
        UserError: epsilon scaling on a schedule that ends at SNR 0.
    """
    factor = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    shape = (pipe.unet.config.in_channels, resolution // factor, resolution // factor)
    zero = float(pipe.scheduler.alphas_cumprod[-1]) == 0
    if zero and config.epsilon_scaling != 1:
        raise UserError(
            f"epsilon_scaling is {config.epsilon_scaling:g}, but this model's schedule ends without signal: there the "
            "noise says nothing about the picture, and scaling it has no meaning. Leave it at 1."
        )
    pipe.scheduler.epsilon_scaling = config.epsilon_scaling
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
    save_png(tiled(pictures), parameters(config, pictures[0].size, model), path)


def tiled(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size row by row, about as many rows as columns."""
    columns = math.ceil(math.sqrt(len(pictures)))
    width, height = pictures[0].size
    grid = Image.new("RGB", (columns * width, math.ceil(len(pictures) / columns) * height), "white")
    for place, picture in enumerate(pictures):
        grid.paste(picture, (place % columns * width, place // columns * height))
    return grid


def labelled(cells: Sequence[Sequence[Image.Image]], rows: Sequence[str], columns: Sequence[str]) -> Image.Image:
    """Pictures of one size as a table with a label for each row and column."""
    width, height = cells[0][0].size
    font = ImageFont.load_default(max(11, height // 24))
    left = max(math.ceil(font.getlength(label)) for label in rows) + 12
    lines = [textwrap.wrap(label, max(4, int(width / font.getlength("n")))) or [""] for label in columns]
    line = math.ceil(font.size * 1.25)
    top = line * max(map(len, lines)) + 6
    table = Image.new("RGB", (left + len(columns) * (width + 4), top + len(rows) * (height + 4)), "white")
    draw = ImageDraw.Draw(table)
    for column, text in enumerate(lines):
        draw.multiline_text((left + column * (width + 4) + 2, 2), "\n".join(text), "black", font, spacing=2)
    for row, label in enumerate(rows):
        draw.text((4, top + row * (height + 4) + height // 2 - line // 2), label, "black", font)
        for column, picture in enumerate(cells[row]):
            table.paste(picture, (left + column * (width + 4), top + row * (height + 4)))
    return table


def save_png(picture: Image.Image, facts: str, path: Path) -> None:
    """Write a PNG with generation parameters in it, whole or not at all."""
    info = PngInfo()
    info.add_text("parameters", facts)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    picture.save(temporary, format="PNG", pnginfo=info)
    temporary.replace(path)


def parameters(config: SampleConfig, size: tuple[int, int], model: str) -> str:
    """Generation parameters in the text form of A1111."""
    return (
        f"{' | '.join(config.prompts)}\nNegative prompt: {config.negative}\n"
        f"Steps: {config.steps}, Sampler: DDIM, CFG scale: {config.guidance:g}, Seed: {config.seed}, "
        f"Size: {size[0]}x{size[1]}, Model: {model}"
        + (f", Epsilon scaling: {config.epsilon_scaling:g}" if config.epsilon_scaling != 1 else "")
    )
