"""What a LoRA file says about itself: kohya's `ss_*`, `modelspec.*`, and our own recipe. Never a path."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from snrlab import __version__
from snrlab.config.run import RunConfig
from snrlab.core.recipe import Recipe


@dataclass(frozen=True)
class Training:
    """Facts of a finished run that its config does not hold."""

    base: str
    num_images: int
    steps: int
    epochs: int
    started: datetime | None
    finished: datetime | None


def lora_metadata(config: RunConfig, recipe: Recipe, training: Training) -> dict[str, str]:
    """Metadata of a LoRA; values are texts, dates only where `output.dates` asks for them."""
    plain: dict[str, object] = {
        **_network_keys(config, recipe, training),
        **_optimisation_keys(config, training),
        **_kohya_recipe(recipe),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": config.name,
        "modelspec.resolution": "{}x{}".format(*config.data.size),
        "modelspec.prediction_type": {"v_prediction": "v"}.get(recipe.prediction_type, recipe.prediction_type),
        "snrlab.version": __version__,
        "snrlab.recipe": recipe.as_dict(),
    }
    if config.output.dates and training.started and training.finished:
        plain |= {
            "ss_training_started_at": training.started.timestamp(),
            "ss_training_finished_at": training.finished.timestamp(),
            "modelspec.date": training.finished.astimezone(UTC).isoformat(timespec="seconds"),
        }
    return {k: _text(v) for k, v in plain.items()}


def _network_keys(config: RunConfig, recipe: Recipe, training: Training) -> dict[str, object]:
    return {
        "ss_output_name": config.name,
        "ss_base_model_version": "sd_v1_v" if recipe.prediction_type == "v_prediction" else "sd_v1",
        "ss_sd_model_name": training.base,
        "ss_v2": False,
        "ss_network_module": "networks.lora",
        "ss_network_dim": config.lora.rank,
        "ss_network_alpha": config.lora.alpha or float(config.lora.rank),
        "ss_zero_terminal_snr": recipe.noise_schedule().terminal_snr_is_zero,
        "ss_mixed_precision": "no" if config.model.precision == "fp32" else config.model.precision,
        "ss_resolution": str(config.data.size),
        "ss_caption_dropout_rate": config.data.caption_dropout,
        "ss_cache_latents": True,
        "ss_num_train_images": training.num_images,
    }


def _optimisation_keys(config: RunConfig, training: Training) -> dict[str, object]:
    train = config.train
    return {
        "ss_learning_rate": train.learning_rate,
        "ss_unet_lr": train.learning_rate,
        "ss_text_encoder_lr": train.learning_rate if train.text_encoder else None,
        "ss_optimizer": f"torch.optim.AdamW(weight_decay={train.weight_decay},betas=({train.beta1}, {train.beta2}))",
        "ss_lr_scheduler": train.lr_schedule,
        "ss_lr_warmup_steps": train.warmup_steps,
        "ss_max_grad_norm": train.max_grad_norm,
        "ss_max_train_steps": train.steps,
        "ss_steps": training.steps,
        "ss_epoch": training.epochs,
        "ss_batch_size_per_device": train.batch_size,
        "ss_total_batch_size": train.batch_size * train.gradient_accumulation,
        "ss_gradient_accumulation_steps": train.gradient_accumulation,
        "ss_seed": config.seed,
    }


def _kohya_recipe(recipe: Recipe) -> dict[str, object]:
    """The recipe in kohya's own keys, where an entry says that kohya has one of the same meaning.

    An entry's fact `kohya` maps a key to the parameter it holds, or to True for a mere switch.
    """
    parts = (*recipe.weighting, recipe.perturbation, recipe.noise)
    return {
        key: True if parameter is True else choice.params[parameter]
        for choice in parts
        if choice is not None
        for key, parameter in choice.entry.facts.get("kohya", {}).items()
    }


def _text(value: object) -> str:
    """Kohya's spelling: Python's str, JSON for containers."""
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else str(value)
