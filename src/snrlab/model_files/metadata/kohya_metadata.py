"""Training metadata in kohya's `ss_*` keys, which A1111, model managers and trainers read from a LoRA file.

Keys that kohya always writes are always present, as `None` if they do not apply. Settings without a kohya key (ranks by
block, weightings of our own, ...) are only in `snrlab.config` and `snrlab.recipe`.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from snrlab.config.run import RunConfig
from snrlab.config.sections.lora import LoraConfig
from snrlab.core.recipe import Recipe
from snrlab.core.registries.registry import Choice, KohyaProperties
from snrlab.core.registries.tensor_registries import kohya_optimizer
from snrlab.model_files.families import Family


@dataclass(frozen=True)
class BaseHashes:
    """Name and hashes of the base model.

    Attributes:
        name: of the model; never a path.
        family: of the model.
        hashes: from `file_hashes`, if the model is a single file.
        vae_name, vae_hashes: the same for a separate VAE.
    """

    name: str
    family: Family = "sd1"
    hashes: tuple[str, str] | None = None
    vae_name: str | None = None
    vae_hashes: tuple[str, str] | None = None


@dataclass(frozen=True)
class Images:
    """Images of a run; each folder is given by its own name, without the folders above it.

    Attributes:
        train, reg: training and regularisation images in an epoch, repeats included.
        validation: images in the validation set.
        size: resolution of training, width and height in pixels.
        options: settings of the images in kohya's keys.
        datasets, dataset_dirs, reg_dataset_dirs, tag_frequency, bucket_info: as kohya writes them.
    """

    train: int
    validation: int = 0
    reg: int = 0
    size: tuple[int, int] = (512, 512)
    options: Mapping[str, object] = field(default_factory=dict)
    datasets: Sequence[Mapping[str, Any]] = ()
    dataset_dirs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    reg_dataset_dirs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    tag_frequency: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    bucket_info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """Base model, images, progress and dates of a training; `devices` is the number of processes that shared it."""

    base: BaseHashes
    images: Images
    steps: int
    epochs: int
    started: datetime | None = None
    finished: datetime | None = None
    devices: int = 1


@cache  # so that a file of gigabytes is read only once in a run
def file_hashes(path: Path) -> tuple[str, str]:
    """Hashes by which A1111 knows a checkpoint file: the old one, of a piece of it, and sha256 of the whole file."""
    with path.open("rb") as file:
        file.seek(0x100000)
        old = hashlib.sha256(file.read(0x10000)).hexdigest()[:8]
        file.seek(0)
        return old, hashlib.file_digest(file, "sha256").hexdigest()


ALWAYS_FALSE = ("ss_full_fp16", "ss_lowram", "ss_fp8_base", "ss_fp8_base_unet", "ss_color_aug")
ALWAYS_NONE = ("ss_validation_split", "ss_max_validation_steps", "ss_resize_interpolation", "ss_face_crop_aug_range")


def kohya_metadata(config: RunConfig, recipe: Recipe, training: Training) -> dict[str, object]:
    """Values of the `ss_*` keys, except dates."""
    run = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return {
        "ss_session_id": zlib.crc32(run.encode()),  # the same in all files of a run, different in another run
        "ss_output_name": config.name,
        "ss_training_comment": config.output.description,
        **dict.fromkeys(ALWAYS_FALSE, False),
        **dict.fromkeys(ALWAYS_NONE),
        **_base_keys(config, recipe, training.base),
        **_network_keys(config.lora),
        **_optimisation_keys(config, training),
        **_image_keys(training.images),
        **_recipe_keys(recipe),
    }


def _base_keys(config: RunConfig, recipe: Recipe, base: BaseHashes) -> dict[str, object]:
    version = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}[base.family]
    if recipe.prediction_type == "v_prediction" and base.family != "sdxl":
        version += "_v"
    keys: dict[str, object] = {
        "ss_v2": base.family == "sd2",
        "ss_base_model_version": version,
        "ss_sd_model_name": base.name,
        "ss_clip_skip": config.model.clip_skip,
        "ss_max_token_length": config.model.max_tokens if config.model.max_tokens > 75 else None,
    }
    if base.hashes:
        keys |= {"ss_sd_model_hash": base.hashes[0], "ss_new_sd_model_hash": base.hashes[1]}
    if base.vae_name:
        keys["ss_vae_name"] = base.vae_name
    if base.vae_hashes:
        keys |= {"ss_vae_hash": base.vae_hashes[0], "ss_new_vae_hash": base.vae_hashes[1]}
    return keys


def _network_keys(lora: LoraConfig) -> dict[str, object]:
    """Keys of the LoRA; a DoRA is declared as LyCORIS' network, whose tensors it has, anything else as kohya's own."""
    network_args: dict[str, object] = {"algo": "locon", "dora_wd": True} if lora.dora else {}
    if "convolution" in lora.layers:
        conv_rank = lora.conv_rank or lora.rank
        network_args |= {"conv_dim": conv_rank, "conv_alpha": lora.conv_alpha or lora.alpha or float(conv_rank)}
    network_args |= {name: getattr(lora, name) for name in ("rank_dropout", "module_dropout") if getattr(lora, name)}
    if lora.loraplus_ratio is not None:
        network_args["loraplus_lr_ratio"] = lora.loraplus_ratio
    return {
        "ss_network_module": "lycoris.kohya" if lora.dora else "networks.lora",
        "ss_network_dim": lora.rank,
        "ss_network_alpha": lora.alpha or float(lora.rank),
        "ss_network_dropout": lora.dropout or None,
        "ss_network_args": {name: str(value) for name, value in network_args.items()},
        "ss_scale_weight_norms": lora.max_norm,
    }


def _optimisation_keys(config: RunConfig, training: Training) -> dict[str, object]:
    train, validation = config.train, config.validation
    images_per_epoch = training.images.train + training.images.reg
    global_batch = train.batch_size * train.gradient_accumulation * training.devices
    text_rates = [train.rate(part) for part in train.parts if part != "unet"]
    loss = train.loss.params
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
        "ss_num_epochs": -(-train.steps * global_batch // images_per_epoch),
        "ss_num_batches_per_epoch": -(-images_per_epoch // train.batch_size),
        "ss_batch_size_per_device": train.batch_size,
        "ss_total_batch_size": global_batch,
        "ss_gradient_accumulation_steps": train.gradient_accumulation,
        "ss_gradient_checkpointing": train.gradient_checkpointing,
        "ss_mixed_precision": "no" if config.model.precision == "fp32" else config.model.precision,
        "ss_seed": config.seed,
        "ss_loss_type": {"mse": "l2"}.get(train.loss.name, train.loss.name),
        "ss_huber_schedule": loss.get("c_schedule"),
        "ss_huber_c": loss.get("c"),
        "ss_huber_scale": loss.get("scale"),
        "ss_validation_seed": config.seed if training.images.validation else None,
        "ss_validate_every_n_steps": validation.every or None,
        "ss_validate_every_n_epochs": validation.every_epochs or None,
    }


def _image_keys(images: Images) -> dict[str, object]:
    folder_keys = {
        "ss_datasets": list(images.datasets),
        "ss_dataset_dirs": dict(images.dataset_dirs),
        "ss_reg_dataset_dirs": dict(images.reg_dataset_dirs),
        "ss_tag_frequency": dict(images.tag_frequency),
        "ss_bucket_info": dict(images.bucket_info),
    }
    return {
        "ss_num_train_images": images.train,
        "ss_num_validation_images": images.validation,
        "ss_num_reg_images": images.reg,
        "ss_resolution": f"({images.size[0]}, {images.size[1]})",
        **images.options,
        **{key: value for key, value in folder_keys.items() if value},
    }


def _recipe_keys(recipe: Recipe) -> dict[str, object]:
    """Keys of the recipe, for entries that kohya also has.

    An entry's property `kohya` maps a key to the parameter whose value it takes, or to True for a switch.
    """
    keys: dict[str, object] = dict.fromkeys(
        ("ss_min_snr_gamma", "ss_ip_noise_gamma", "ss_noise_offset", "ss_multires_noise_iterations",
         "ss_multires_noise_discount", "ss_adaptive_noise_scale")
    )  # fmt: skip
    keys |= dict.fromkeys(
        ("ss_debiased_estimation", "ss_ip_noise_gamma_random_strength", "ss_noise_offset_random_strength"), False
    )
    choices: tuple[Choice[KohyaProperties] | None, ...] = (*recipe.weighting, recipe.perturbation, recipe.noise)
    for choice in choices:
        if choice is not None:
            for key, parameter in choice.entry.properties.kohya.items():
                keys[key] = True if parameter is True else choice.params[parameter]
    return keys | {"ss_zero_terminal_snr": recipe.noise_schedule().terminal_snr_is_zero}
