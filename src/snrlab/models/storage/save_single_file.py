"""Writing a whole model as one .safetensors file, in the layout of the original programs."""

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
from snrlab.models.networks import empty_network
from snrlab.models.pixels import PixelIdentity
from snrlab.models.storage.safetensors_file import PendingTensor, write_tensors

if TYPE_CHECKING:
    from snrlab.models.components import Network

# modelspec's names of the architectures and their original programs
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
# buffers of the noise schedule, which programs compute themselves where a file has none
SCHEDULE_BUFFERS = (
    "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_variance",
    "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2", "logvar", "lvlb_weights",
    "denoiser.sigmas",
)  # fmt: skip
# entries of a text encoder's config that determine its tensors and its computation
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
    """Write a model atomically as a single file.

    Args:
        components: the model; its schedule and prediction type are recorded in the empty tensors `v_pred` and
            `ztsnr` and in the metadata.
        path: the file.
        dtype: number format of the weights; None keeps each tensor's own.
        metadata: goes in beside what the file says of the model itself.
        largest: leave out tensors of more bytes, as a trial of whether the rest can be written.

    Raises:
        UserError: the layout cannot hold this model.
    """
    refuse_unsavable(components)
    header = checkpoint_metadata(components) | dict(metadata or {})
    write_tensors(path, _tensors_to_write(components, dtype), header, largest)


def refuse_unsavable(components: Components) -> None:
    """Refuse a model that a single file would misrepresent (UserError)."""
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
    """Metadata of a single file: modelspec, and the configs that differ from the family's."""
    family, kind = components.family, components.known_prediction_type()
    size = int(components.unet.config.sample_size) * components.latent_factor
    metadata = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": ARCHITECTURE[family, kind],
        "modelspec.implementation": IMPLEMENTATION[family],
        "modelspec.title": components.label,
        "modelspec.resolution": f"{size}x{size}",
        "modelspec.prediction_type": {"v_prediction": "v"}.get(kind, kind),
        "snrlab.version": __version__,
    }
    different = {part: d for part in families.PARTS[family] if (d := _differences(components, part))}
    return metadata | ({CONFIG_KEY: json.dumps(different, sort_keys=True)} if different else {})


def _differences(components: Components, part: str) -> dict[str, Any]:
    """Entries of a network's config that differ from the family's."""
    defaults = _config_with_defaults(part, json.dumps(families.config(components.family, part)))
    config = _config_dict(components.networks[part])
    if part.startswith("text"):
        keys = (*TEXT_KEYS, *(("projection_dim",) if part == "text_encoder_2" else ()))
    else:
        keys = tuple(key for key in config if not key.startswith("_"))
    return {key: config[key] for key in keys if key in config and config[key] != defaults.get(key)}


@cache
def _config_with_defaults(part: str, config: str) -> Mapping[str, Any]:
    """A config completed with the defaults that the library sets when it builds the network."""
    return MappingProxyType(_config_dict(empty_network(part, json.loads(config))))


def _config_dict(network: Network) -> dict[str, Any]:
    config = network.config
    entries = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    return json.loads(json.dumps(entries, default=list))


def _tensors_to_write(components: Components, dtype: torch.dtype | None) -> Iterator[PendingTensor]:
    family = components.family
    for part in families.PARTS[family]:
        network = components.networks[part]
        state = network.state_dict()
        for entry in layout(part, state, network.config if part in ("unet", "vae") else {}, family):
            first = state[entry.parts[0]]
            shape = tuple(entry.join({name: state[name].to("meta") for name in entry.parts}).shape)
            yield PendingTensor(entry.name, shape, dtype or first.dtype, partial(entry.join, state))
    for name, tensor in _extras(components).items():
        weights = name.startswith((PREFIXES[family]["text_encoder"].split(".")[0], PREFIXES[family]["vae"]))
        cast = dtype if dtype and weights and tensor.is_floating_point() else tensor.dtype
        yield PendingTensor(name, tuple(tensor.shape), cast, partial(_unchanged, tensor))
    marks = {
        "v_pred": components.prediction_type == "v_prediction",
        "ztsnr": _schedule(components).terminal_snr_is_zero,
    }
    for name in (name for name, true in marks.items() if true):
        yield PendingTensor(name, (0,), torch.float32, partial(torch.zeros, 0))


def _extras(components: Components) -> dict[str, Tensor]:
    """Tensors from the file that belong to no network, without schedule buffers that no longer apply."""
    extras = dict(components.extras)
    table = extras.get("alphas_cumprod")
    if table is not None:
        current = _schedule(components).alphas_cumprod
        if len(table) != len(current) or not np.allclose(table.double().numpy(), current, rtol=2e-3, atol=1e-6):
            extras = {name: tensor for name, tensor in extras.items() if name not in SCHEDULE_BUFFERS}
    return extras


def _schedule(components: Components) -> NoiseSchedule:
    schedule: NoiseSchedule = SCHEDULES.bind("scheduler_config", config=json.dumps(components.scheduler_config))()
    return schedule


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor
