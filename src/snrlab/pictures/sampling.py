"""Pictures from the model as it is: fixed prompts, fixed noise, so that grids compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image
from torch import Tensor

from snrlab.config.sections.output import SampleConfig
from snrlab.core.errors import UserError
from snrlab.core.random_streams import stream
from snrlab.core.schedule import NoiseSchedule
from snrlab.models.arithmetic import borrowed, computing
from snrlab.models.components import ENCODERS, Components
from snrlab.models.encoding.encode import TextEmbeddings, decode_latents, encode_captions
from snrlab.pictures.ddim import sampler
from snrlab.pictures.requests import SampleRequest, requests

_BATCH = 16
_AREA = 2**20  # pixels drawn at once: 4 pictures of 512 x 512
RESCALE_AT_ZERO_SNR = 0.7  # arXiv:2305.08891: guidance overexposes where the schedule ends without signal


@dataclass(frozen=True, eq=False)
class Pipeline:
    """A diffusers pipeline over the networks in memory, which it shares, and what they are told by."""

    components: Components
    diffusers: StableDiffusionPipeline | StableDiffusionXLPipeline


class _WhereTheUNetIs:
    """Text encoders and autoencoder may wait elsewhere: a pipeline runs on the UNet's device."""

    @property
    def _execution_device(self) -> torch.device:
        return self.unet.device  # type: ignore[attr-defined]  # of the pipeline beside it


class _SD(_WhereTheUNetIs, StableDiffusionPipeline):
    """Stable Diffusion 1.5 and 2."""


class _SDXL(_WhereTheUNetIs, StableDiffusionXLPipeline):
    """Stable Diffusion XL."""


def pipeline(components: Components, schedule: NoiseSchedule, prediction_type: str) -> Pipeline:
    """A pipeline over the networks in memory."""
    parts = {
        "vae": components.vae,
        "text_encoder": components.text_encoder,
        "tokenizer": components.tokenizer,
        "unet": components.unet,
        "scheduler": sampler(schedule, prediction_type),
    }
    if components.family == "sdxl":
        second = {"text_encoder_2": components.text_encoder_2, "tokenizer_2": components.tokenizer_2}
        made = _SDXL(**parts, **second, add_watermarker=False)
    else:
        made = _SD(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return Pipeline(components, made)


@torch.no_grad()
def draw_pictures(
    pipe: Pipeline,
    wanted: SampleConfig | Sequence[SampleRequest],
    resolution: int = 512,
    *,
    epsilon_scaling: float = 1.0,
    drawn: Callable[[int], None] = lambda count: None,
) -> list[Image.Image]:
    """Draw pictures.

    Args:
        pipe: the model; networks that wait elsewhere are on its UNet's device only while they are needed.
        wanted: the pictures, or a [sample] section, of which one picture per prompt is drawn.
        resolution: pixels a side, for a section.
        epsilon_scaling: divides the predicted noise; a section has its own.
        drawn: told how many more are drawn, all but decoded.

    Raises:
        UserError: epsilon scaling on a schedule that ends at SNR 0.
    """
    if isinstance(wanted, SampleConfig):
        return draw_pictures(pipe, requests(wanted, resolution), epsilon_scaling=wanted.epsilon_scaling, drawn=drawn)
    scheduler = pipe.diffusers.scheduler
    if float(scheduler.alphas_cumprod[-1]) == 0 and epsilon_scaling != 1:
        raise UserError(
            f"epsilon_scaling is {epsilon_scaling:g}, but this model's schedule ends without signal: there the "
            "noise says nothing about the picture, and scaling it has no meaning. Leave it at 1.",
            code="unused-option",
        )
    scheduler.epsilon_scaling = epsilon_scaling
    components, device = pipe.components, pipe.components.unet.device
    with borrowed(components, ENCODERS, device):
        text = encode_captions(components, [r.prompt for r in wanted] + [r.negative for r in wanted])
    latents: list[Tensor] = []
    for rows in _batches(wanted):
        latents += _denoised(pipe, wanted, rows, text)
        drawn(len(rows))
    with borrowed(components, ("unet",), torch.device("cpu")), borrowed(components, ("vae",), device):
        pixels = [decode_latents(components, latent[None], device) for latent in latents]
    return [pipe.diffusers.image_processor.postprocess(image, output_type="pil")[0] for image in pixels]


def _batches(wanted: Sequence[SampleRequest]) -> Iterator[list[int]]:
    """Places in the list of pictures that are drawn together: neighbours of one size and one setting."""
    alike = groupby(range(len(wanted)), key=lambda i: _setting(wanted[i]))
    for (width, height, _, _), group in alike:
        rows, most = list(group), max(1, min(_BATCH, _AREA // (width * height)))
        yield from (rows[start : start + most] for start in range(0, len(rows), most))


def _setting(request: SampleRequest) -> tuple[int, int, float, int]:
    return request.width, request.height, request.guidance, request.steps


def _denoised(pipe: Pipeline, wanted: Sequence[SampleRequest], rows: list[int], text: TextEmbeddings) -> Tensor:
    """The latents of pictures with one setting, on the CPU: [B, C, h, w]."""
    components, made = pipe.components, pipe.diffusers
    unet, factor = components.unet, components.latent_factor
    width, height, guidance, steps = _setting(wanted[rows[0]])
    shape = (unet.config.in_channels, height // factor, width // factor)
    noise = [stream(wanted[i].seed, "sample", 0, wanted[i].place).standard_normal(shape) for i in rows]
    with computing(components.arithmetic or unet.dtype, unet.device):
        found = made(
            **_told(text[rows], ""),
            **_told(text[[len(wanted) + i for i in rows]], "negative_"),
            latents=torch.tensor(np.stack(noise), dtype=torch.float32, device=unet.device),
            num_inference_steps=steps,
            guidance_scale=guidance,
            guidance_rescale=RESCALE_AT_ZERO_SNR if float(made.scheduler.alphas_cumprod[-1]) == 0 else 0.0,
            height=height,
            width=width,
            output_type="latent",
        ).images
    return found.float().cpu()


def _told(text: TextEmbeddings, prefix: str) -> dict[str, Tensor]:
    told = {f"{prefix}prompt_embeds": text.hidden}
    return told if text.pooled is None else told | {f"{prefix}pooled_prompt_embeds": text.pooled}
