"""Writing a whole model as one .safetensors file, in the layout of the programs it came with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from snrlab import __version__
from snrlab.core.errors import UserError
from snrlab.core.schedule import SCHEDULES, NoiseSchedule, recognise_schedule
from snrlab.model_files import families
from snrlab.model_files.recognise import CONFIG_KEY
from snrlab.models.clip import vocabulary
from snrlab.models.components import Components
from snrlab.models.layouts.original_layout import PREFIXES, layout
from snrlab.models.networks import empty
from snrlab.models.pixels import PixelIdentity
from snrlab.models.storage.safetensors_file import Pending, write_tensors

if TYPE_CHECKING:
    from snrlab.models.components import Network

# what the layout names its programs
ARCHITECTURE = {
    ("sd1", "epsilon"): "stable-diffusion-v1",
    ("sd1", "v_prediction"): "stable-diffusion-v1",
    ("sd2", "epsilon"): "stable-diffusion-v2-512",
    ("sd2", "v_prediction"): "stable-diffusion-v2-768-v",
    ("sdxl", "epsilon"): "stable-diffusion-xl-v1-base",
    ("sdxl", "v_prediction"): "stable-diffusion-xl-v1-base",
}
IMPLEMENTATION = {
    "sd1": "https://github.com/CompVis/stable-diffusion",
    "sd2": "https://github.com/Stability-AI/stablediffusion",
    "sdxl": "https://github.com/Stability-AI/generative-models",
}
# buffers of the noise schedule, which programs compute by themselves where a file has none
SCHEDULE_BUFFERS = (
    "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_variance",
    "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2", "logvar", "lvlb_weights",
    "denoiser.sigmas",
)  # fmt: skip
# of a text encoder's config, what decides its tensors and what it computes
TEXT_KEYS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act",
    "max_position_embeddings", "vocab_size", "layer_norm_eps",
)  # fmt: skip


def save_single_file(
    components: Components,
    path: Path,
    dtype: torch.dtype | None,
    metadata: Mapping[str, str] | None = None,
    largest: int | None = None,
) -> None:
    """Write a model, whole or not at all.

    Args:
        components: the model; its schedule and prediction type go into the marks `v_pred` and `ztsnr` and into the
            metadata.
        path: the file.
        dtype: number format of the weights; None keeps each one's own.
        metadata: goes in beside what the file says of the model itself.
        largest: leave out tensors of more bytes, to try whether the rest can be written.

    Raises:
        UserError: the layout has no place for something that the model is.
    """
    refuse_unsavable(components)
    told = checkpoint_metadata(components) | dict(metadata or {})
    write_tensors(path, _tensors(components, dtype), told, largest)


def refuse_unsavable(components: Components) -> None:
    """Refuse a model that a single file cannot hold without saying something else (UserError)."""
    kind = components.known_prediction_type()
    reason = None
    if isinstance(components.vae, PixelIdentity):
        reason = "works on pixels, without an autoencoder"
    elif any(tokenizer.get_vocab() != vocabulary() for tokenizer in components.tokenizers.values()):
        reason = "has a vocabulary of its own, not CLIP's"
    elif kind not in ("epsilon", "v_prediction"):
        reason = f"predicts {kind}, and programs read from it epsilon or v"
    else:
        known = recognise_schedule(_schedule(components))
        if known is None or known[0].name != "sd":
            reason = "has another noise schedule than Stable Diffusion's, which programs take for granted"
    if reason:
        raise UserError(
            f"{components.label} {reason}: a single file has no place for that. Use a diffusers folder.",
            code="not-supported",
        )


def checkpoint_metadata(components: Components) -> dict[str, str]:
    """What a single file says of itself: modelspec, and the configs that differ from the family's."""
    family, kind = components.family, components.known_prediction_type()
    size = int(components.unet.config.sample_size) * components.latent_factor
    told = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": ARCHITECTURE[family, kind],
        "modelspec.implementation": IMPLEMENTATION[family],
        "modelspec.title": components.label,
        "modelspec.resolution": f"{size}x{size}",
        "modelspec.prediction_type": {"v_prediction": "v"}.get(kind, kind),
        "snrlab.version": __version__,
    }
    different = {part: d for part in families.PARTS[family] if (d := _differences(components, part))}
    return told | ({CONFIG_KEY: json.dumps(different, sort_keys=True)} if different else {})


def _differences(components: Components, part: str) -> dict[str, Any]:
    """Entries of a network's config that differ from the family's."""
    usual, own = _stated(part, json.dumps(families.config(components.family, part))), _plain(components.networks[part])
    if part.startswith("text"):
        keys = (*TEXT_KEYS, *(("projection_dim",) if part == "text_encoder_2" else ()))
    else:
        keys = tuple(key for key in own if not key.startswith("_"))
    return {key: own[key] for key in keys if key in own and own[key] != usual.get(key)}


@cache
def _stated(part: str, config: str) -> Mapping[str, Any]:
    """A config with what it leaves open, which the library fills in as it makes the network."""
    return MappingProxyType(_plain(empty(part, json.loads(config))))


def _plain(network: Network) -> dict[str, Any]:
    config = network.config
    entries = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    return json.loads(json.dumps(entries, default=list))


def _tensors(components: Components, dtype: torch.dtype | None) -> Iterator[Pending]:
    family = components.family
    for part in families.PARTS[family]:
        network = components.networks[part]
        state = network.state_dict()
        for entry in layout(part, state, network.config if part in ("unet", "vae") else {}, family):
            own = state[entry.parts[0]]
            shape = tuple(entry.join({name: state[name].to("meta") for name in entry.parts}).shape)
            yield Pending(entry.name, shape, dtype or own.dtype, partial(entry.join, state))
    for name, tensor in _extras(components).items():
        weights = name.startswith((PREFIXES[family]["text_encoder"].split(".")[0], PREFIXES[family]["vae"]))
        cast = dtype if dtype and weights and tensor.is_floating_point() else tensor.dtype
        yield Pending(name, tuple(tensor.shape), cast, partial(_same, tensor))
    marks = {
        "v_pred": components.prediction_type == "v_prediction",
        "ztsnr": _schedule(components).terminal_snr_is_zero,
    }
    for name in (name for name, true in marks.items() if true):
        yield Pending(name, (0,), torch.float32, partial(torch.zeros, 0))


def _extras(components: Components) -> dict[str, Tensor]:
    """Tensors from the file that no network has; not the old schedule where another one has been trained."""
    found = dict(components.extras)
    table = found.get("alphas_cumprod")
    if table is not None:
        now = _schedule(components).alphas_cumprod
        if len(table) != len(now) or not np.allclose(table.double().numpy(), now, rtol=2e-3, atol=1e-6):
            found = {name: tensor for name, tensor in found.items() if name not in SCHEDULE_BUFFERS}
    return found


def _schedule(components: Components) -> NoiseSchedule:
    schedule: NoiseSchedule = SCHEDULES.bind("scheduler_config", config=json.dumps(components.scheduler_config))()
    return schedule


def _same(tensor: Tensor) -> Tensor:
    return tensor
