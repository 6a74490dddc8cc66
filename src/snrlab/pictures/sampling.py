"""Drawing pictures with a model from fixed prompts and fixed noise, so that grids can be compared."""

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
from snrlab.pictures.ddim import ends_without_signal, sampler
from snrlab.pictures.requests import SampleRequest, requests
from snrlab.pictures.schedulers import make_scheduler

_BATCH = 16
_AREA = 2**20  # pixels drawn at a time: 4 pictures of 512 x 512
RESCALE_AT_ZERO_SNR = 0.7  # arXiv:2305.08891: guidance overexposes where the schedule ends without signal


@dataclass(frozen=True, eq=False)
class Pipeline:
    """A diffusers pipeline that shares the networks of a model in memory.

    Attributes:
        components: the model.
        diffusers: the pipeline; its scheduler is that of the batch that is being drawn.
        schedule: the noise schedule of training.
        prediction_type: what the network predicts.
    """

    components: Components
    diffusers: StableDiffusionPipeline | StableDiffusionXLPipeline
    schedule: NoiseSchedule
    prediction_type: str


class _OnTheUNetsDevice:
    """Mixin: the pipeline runs on the UNet's device, wherever text encoders and autoencoder are."""

    @property
    def _execution_device(self) -> torch.device:
        return self.unet.device  # type: ignore[attr-defined]  # an attribute of the pipeline class


class _SD(_OnTheUNetsDevice, StableDiffusionPipeline):
    """Stable Diffusion 1.5 and 2."""


class _SDXL(_OnTheUNetsDevice, StableDiffusionXLPipeline):
    """Stable Diffusion XL."""


def pipeline(components: Components, schedule: NoiseSchedule, prediction_type: str) -> Pipeline:
    """Build a pipeline over the networks in memory."""
    parts = {
        "vae": components.vae,
        "text_encoder": components.text_encoder,
        "tokenizer": components.tokenizer,
        "unet": components.unet,
        "scheduler": sampler(schedule, prediction_type),
    }
    if components.family == "sdxl":
        second = {"text_encoder_2": components.text_encoder_2, "tokenizer_2": components.tokenizer_2}
        diffusers = _SDXL(**parts, **second, add_watermarker=False)
    else:
        diffusers = _SD(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    diffusers.set_progress_bar_config(disable=True)
    return Pipeline(components, diffusers, schedule, prediction_type)


@torch.no_grad()
def draw_pictures(
    pipe: Pipeline,
    wanted: SampleConfig | Sequence[SampleRequest],
    resolution: int = 512,
    *,
    epsilon_scaling: float = 1.0,
    drawn: Callable[[int], None] = lambda count: None,
) -> list[Image.Image]:
    """Draw pictures from requests, or from a [sample] section.

    Args:
        pipe: the model; networks kept on another device are on the UNet's only while they are needed.
        wanted: the requests, or a [sample] section, of which one picture per prompt is drawn.
        resolution: pixels along each side, for a section.
        epsilon_scaling: divisor of the predicted noise; a section has its own.
        drawn: called with the number of pictures newly drawn (but not yet decoded).

    Raises:
        UserError: epsilon scaling on a schedule that ends at SNR 0, or a sampler that cannot draw with this model.
    """
    if isinstance(wanted, SampleConfig):
        return draw_pictures(pipe, requests(wanted, resolution), epsilon_scaling=wanted.epsilon_scaling, drawn=drawn)
    if ends_without_signal(pipe.schedule) and epsilon_scaling != 1:
        raise UserError(
            f"epsilon_scaling is {epsilon_scaling:g}, but this model's schedule ends without signal: there the "
            "noise says nothing about the picture, and scaling it has no meaning. Leave it at 1.",
            code="unused-option",
        )
    schedulers = {
        name: make_scheduler(name, pipe.schedule, pipe.prediction_type, epsilon_scaling=epsilon_scaling)
        for name in dict.fromkeys(request.sampler for request in wanted)
    }
    components, device = pipe.components, pipe.components.unet.device
    with borrowed(components, ENCODERS, device):
        text = encode_captions(components, [r.prompt for r in wanted] + [r.negative for r in wanted])
    latents: list[Tensor] = []
    for rows in _batches(wanted):
        pipe.diffusers.scheduler = schedulers[wanted[rows[0]].sampler]
        latents += _denoise_batch(pipe, wanted, rows, text)
        drawn(len(rows))
    with borrowed(components, ("unet",), torch.device("cpu")), borrowed(components, ("vae",), device):
        pixels = [decode_latents(components, latent[None], device) for latent in latents]
    return [pipe.diffusers.image_processor.postprocess(image, output_type="pil")[0] for image in pixels]


def _batches(sample_requests: Sequence[SampleRequest]) -> Iterator[list[int]]:
    """Indices of the requests that are drawn in one batch: neighbours of one size, guidance, steps and sampler."""
    groups = groupby(range(len(sample_requests)), key=lambda i: _batch_key(sample_requests[i]))
    for (width, height, *_), group in groups:
        rows, limit = list(group), max(1, min(_BATCH, _AREA // (width * height)))
        yield from (rows[start : start + limit] for start in range(0, len(rows), limit))


def _batch_key(request: SampleRequest) -> tuple[int, int, float, int, str]:
    return request.width, request.height, request.guidance, request.steps, request.sampler


def _denoise_batch(
    pipe: Pipeline, sample_requests: Sequence[SampleRequest], rows: list[int], text: TextEmbeddings
) -> Tensor:
    """Denoise one batch of requests to latents, on the CPU: [B, C, h, w]."""
    components, diffusers = pipe.components, pipe.diffusers
    unet, factor = components.unet, components.latent_factor
    width, height, guidance, steps, _ = _batch_key(sample_requests[rows[0]])
    shape = (unet.config.in_channels, height // factor, width // factor)
    noise = [
        stream(sample_requests[i].seed, "sample", 0, sample_requests[i].place).standard_normal(shape) for i in rows
    ]
    with computing(components.arithmetic or unet.dtype, unet.device):
        latents = diffusers(
            **_prompt_arguments(text[rows], ""),
            **_prompt_arguments(text[[len(sample_requests) + i for i in rows]], "negative_"),
            latents=torch.tensor(np.stack(noise), dtype=torch.float32, device=unet.device),
            generator=[_step_noise(sample_requests[i]) for i in rows],
            num_inference_steps=steps,
            guidance_scale=guidance,
            guidance_rescale=RESCALE_AT_ZERO_SNR if ends_without_signal(pipe.schedule) else 0.0,
            height=height,
            width=width,
            output_type="latent",
        ).images
    return latents.float().cpu()


def _step_noise(request: SampleRequest) -> torch.Generator:
    """The generator of the noise that the steps of one picture add, whatever the batch and the device."""
    seed = stream(request.seed, "sampler", 0, request.place).integers(2**63)
    return torch.Generator().manual_seed(int(seed))


def _prompt_arguments(text: TextEmbeddings, prefix: str) -> dict[str, Tensor]:
    arguments = {f"{prefix}prompt_embeds": text.hidden}
    return arguments if text.pooled is None else arguments | {f"{prefix}pooled_prompt_embeds": text.pooled}
