"""What a LoRA file says about itself: kohya's `ss_*`, `modelspec.*`, and our own recipe and run. Never a path."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from snrlab import __version__
from snrlab.config.lora import LoraConfig
from snrlab.config.model import ModelConfig
from snrlab.config.run import RunConfig
from snrlab.core.recipe import Recipe
from snrlab.core.training import kohya_optimizer
from snrlab.models.families import Family

ARCHITECTURES: dict[Family, str] = {"sd1": "stable-diffusion-v1", "sdxl": "stable-diffusion-xl-v1-base"}
SGM = "https://github.com/Stability-AI/generative-models"  # whose names the UNet of an SDXL LoRA has


@dataclass(frozen=True)
class Base:
    """The model that was trained on.

    Attributes:
        name: never a path; vae_name: of a separate autoencoder.
        hashes, vae_hashes: as `file_hashes` gives them, where it was a single file.
    """

    name: str
    family: Family = "sd1"
    hashes: tuple[str, str] | None = None
    vae_name: str | None = None
    vae_hashes: tuple[str, str] | None = None


@dataclass(frozen=True)
class Images:
    """The images that were trained on; every folder goes by its own name, without the folders above it.

    Attributes:
        train, validation, reg: numbers of images, with repeats.
        datasets, dataset_dirs, reg_dataset_dirs, tag_frequency, bucket_info: as kohya writes them.
    """

    train: int
    validation: int = 0
    reg: int = 0
    datasets: Sequence[Mapping[str, Any]] = ()
    dataset_dirs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    reg_dataset_dirs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    tag_frequency: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    bucket_info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """Facts of a finished run that its config does not hold."""

    base: Base
    images: Images
    steps: int
    epochs: int
    started: datetime | None = None
    finished: datetime | None = None


def lora_metadata(config: RunConfig, recipe: Recipe, training: Training) -> dict[str, str]:
    """Metadata of a LoRA; values are texts, dates only where `output.dates` asks for them."""
    run = config.model_dump(mode="json")
    plain: dict[str, object] = {
        "ss_session_id": zlib.crc32(json.dumps(run, sort_keys=True).encode()),
        "ss_output_name": config.name,
        **_base_keys(recipe, training.base),
        **_text_keys(config.model, training.base.family),
        **_network_keys(config.lora),
        **_optimisation_keys(config, training),
        **_image_keys(config, training.images),
        **_recipe_keys(recipe),
        **_modelspec(config, recipe, training.base.family),
        "snrlab.version": __version__,
        "snrlab.recipe": recipe.as_dict(),
        "snrlab.config": without_folders(run),
    }
    if config.output.dates and training.started and training.finished:
        plain |= {
            "ss_training_started_at": training.started.timestamp(),
            "ss_training_finished_at": training.finished.timestamp(),
            "modelspec.date": training.finished.astimezone(UTC).isoformat(timespec="seconds"),
        }
    return {k: _text(v) for k, v in plain.items()}


@cache  # a file of gigabytes is read once in a run
def file_hashes(path: Path) -> tuple[str, str]:
    """The two hashes by which A1111 knows a checkpoint file: an old one of a piece of it, and sha256 of all of it."""
    with path.open("rb") as file:
        file.seek(0x100000)
        old = hashlib.sha256(file.read(0x10000)).hexdigest()[:8]
        file.seek(0)
        return old, hashlib.file_digest(file, "sha256").hexdigest()


def without_folders(value: Any) -> Any:
    """The same plain data, where a path has lost the folders above it: they are nobody else's business.

    >>> without_folders({"model": {"path": "/home/someone/models/base"}, "steps": 5})
    {'model': {'path': 'base'}, 'steps': 5}
    """
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_folders(item) for item in value]
    for kind in (PurePosixPath, PureWindowsPath):
        if isinstance(value, str) and kind(value).is_absolute():
            return kind(value).name
    return value


def _base_keys(recipe: Recipe, base: Base) -> dict[str, object]:
    version = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}[base.family]
    if recipe.prediction_type == "v_prediction" and base.family != "sdxl":
        version += "_v"
    keys: dict[str, object] = {
        "ss_v2": base.family == "sd2",
        "ss_base_model_version": version,
        "ss_sd_model_name": base.name,
    }
    if base.hashes:
        keys |= {"ss_sd_model_hash": base.hashes[0], "ss_new_sd_model_hash": base.hashes[1]}
    if base.vae_name:
        keys["ss_vae_name"] = base.vae_name
    if base.vae_hashes:
        keys |= {"ss_vae_hash": base.vae_hashes[0], "ss_new_vae_hash": base.vae_hashes[1]}
    return keys


def _text_keys(model: ModelConfig, family: Family) -> dict[str, object]:
    """How captions were encoded; kohya's trainers write None for 75 tokens."""
    return {
        "ss_clip_skip": model.clip_skip,
        "ss_max_token_length": model.max_tokens if model.max_tokens > 75 else None,
        "modelspec.encoder_layer": model.clip_skip or (1 if family == "sd1" else 2),
    }


def _network_keys(lora: LoraConfig) -> dict[str, object]:
    """A DoRA has the tensors that LyCORIS writes and reads; the rest is kohya's own network."""
    arguments: dict[str, object] = {"algo": "locon", "dora_wd": True} if lora.dora else {}
    if "convolution" in lora.layers:
        conv_rank = lora.conv_rank or lora.rank
        arguments |= {"conv_dim": conv_rank, "conv_alpha": lora.conv_alpha or lora.alpha or float(conv_rank)}
    arguments |= {name: getattr(lora, name) for name in ("rank_dropout", "module_dropout") if getattr(lora, name)}
    if lora.loraplus_ratio is not None:
        arguments["loraplus_lr_ratio"] = lora.loraplus_ratio
    return {
        "ss_network_module": "lycoris.kohya" if lora.dora else "networks.lora",
        "ss_network_dim": lora.rank,
        "ss_network_alpha": lora.alpha or float(lora.rank),
        "ss_network_dropout": lora.dropout or None,
        "ss_network_args": {name: str(value) for name, value in arguments.items()},
        "ss_scale_weight_norms": lora.max_norm,
    }


def _optimisation_keys(config: RunConfig, training: Training) -> dict[str, object]:
    train, images = config.train, training.images.train
    text_rates = [train.rate(part) for part in train.parts if part != "unet"]
    return {
        "ss_learning_rate": train.learning_rate,
        "ss_unet_lr": train.rate("unet") if train.unet else None,
        "ss_text_encoder_lr": text_rates[0] if len(text_rates) == 1 else text_rates or None,
        "ss_optimizer": kohya_optimizer(train.optimizer),
        "ss_lr_scheduler": train.lr_schedule.name,
        "ss_lr_warmup_steps": train.warmup_steps,
        "ss_max_grad_norm": train.max_grad_norm,
        "ss_max_train_steps": train.steps,
        "ss_steps": training.steps,
        "ss_epoch": training.epochs,
        "ss_num_epochs": -(-train.steps * train.batch_size * train.gradient_accumulation // images),
        "ss_num_batches_per_epoch": -(-images // train.batch_size),
        "ss_batch_size_per_device": train.batch_size,
        "ss_total_batch_size": train.batch_size * train.gradient_accumulation,
        "ss_gradient_accumulation_steps": train.gradient_accumulation,
        "ss_mixed_precision": "no" if config.model.precision == "fp32" else config.model.precision,
        "ss_full_fp16": False,
        "ss_seed": config.seed,
        "ss_loss_type": "l2",
    }


def _image_keys(config: RunConfig, images: Images) -> dict[str, object]:
    data = config.data
    keys: dict[str, object] = {
        "ss_num_train_images": images.train,
        "ss_num_validation_images": images.validation,
        "ss_num_reg_images": images.reg,
        "ss_resolution": f"({data.resolution}, {data.resolution})",
        "ss_caption_dropout_rate": data.caption_dropout,
        "ss_caption_tag_dropout_rate": data.tag_dropout,
        "ss_shuffle_caption": data.shuffle_tags,
        "ss_flip_aug": data.flip,
        "ss_cache_latents": True,
    }
    facts = {
        "ss_datasets": list(images.datasets),
        "ss_dataset_dirs": dict(images.dataset_dirs),
        "ss_reg_dataset_dirs": dict(images.reg_dataset_dirs),
        "ss_tag_frequency": dict(images.tag_frequency),
        "ss_bucket_info": dict(images.bucket_info),
    }
    return keys | {key: value for key, value in facts.items() if value}


def _recipe_keys(recipe: Recipe) -> dict[str, object]:
    """The recipe in kohya's own keys, where an entry says that kohya has one of the same meaning.

    An entry's fact `kohya` maps a key to the parameter it holds, or to True for a mere switch.
    """
    keys: dict[str, object] = dict.fromkeys(
        ("ss_min_snr_gamma", "ss_ip_noise_gamma", "ss_noise_offset", "ss_multires_noise_iterations",
         "ss_multires_noise_discount", "ss_adaptive_noise_scale")
    )  # fmt: skip
    keys |= dict.fromkeys(
        ("ss_debiased_estimation", "ss_ip_noise_gamma_random_strength", "ss_noise_offset_random_strength"), False
    )
    for choice in (*recipe.weighting, recipe.perturbation, recipe.noise):
        if choice is not None:
            for key, parameter in choice.entry.facts.get("kohya", {}).items():
                keys[key] = True if parameter is True else choice.params[parameter]
    return keys | {"ss_zero_terminal_snr": recipe.noise_schedule().terminal_snr_is_zero}


def _modelspec(config: RunConfig, recipe: Recipe, family: Family) -> dict[str, object]:
    v = recipe.prediction_type == "v_prediction"
    architecture = ARCHITECTURES.get(family) or f"stable-diffusion-v2-{'768-v' if v else '512'}"
    drawn = np.flatnonzero(recipe.tables().p)
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{architecture}/lora",
        "modelspec.implementation": SGM if family == "sdxl" else "diffusers",
        "modelspec.implementation_version": f"snrlab/{__version__}",
        "modelspec.title": config.name,
        "modelspec.resolution": "{}x{}".format(*config.data.size),
        "modelspec.prediction_type": "v" if v else recipe.prediction_type,
        "modelspec.timestep_range": f"{drawn[0]},{drawn[-1] + 1}",  # as kohya's: the end is not among them
        **described(config),
    }


def described(config: RunConfig) -> dict[str, str]:
    """What [output] says of the result for people, in the keys that model browsers show."""
    output = config.output
    words = {
        "title": output.title,
        "author": output.author,
        "description": output.description,
        "license": output.license,
        "tags": ", ".join(output.tags),
        "trigger_phrase": output.trigger_phrase,
    }
    return {f"modelspec.{name}": text for name, text in words.items() if text}


def _text(value: object) -> str:
    """Kohya's spelling: Python's str, JSON for containers."""
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else str(value)
