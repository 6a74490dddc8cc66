"""Export of a run file to OneTrainer's configuration."""

from __future__ import annotations

from typing import Any

from snrlab.config.prompts import parse_line
from snrlab.config.run import RunConfig
from snrlab.config.sections.captions import CaptionOptions
from snrlab.config.sections.data import ImageOptions
from snrlab.core.registries.registry import Choice
from snrlab.core.registries.samplers import DEFAULT_SAMPLER, SAMPLERS
from snrlab.peers.conversion import Dropped, fields_left, shown
from snrlab.peers.kohya.network_options import is_sdxl_run
from snrlab.peers.onetrainer.density import options_of
from snrlab.peers.onetrainer.to_run_file import LAYERS, PATTERNS
from snrlab.peers.onetrainer.training_options import OPTIMIZER_NAMES, TEXT
from snrlab.peers.onetrainer.versions import CONCEPT_NOW, NOW

_TYPES = {"fp16": "FLOAT_16", "bf16": "BFLOAT_16", "fp32": "FLOAT_32"}
NOTHING = "OneTrainer has nothing like it"
_SCHEDULES = {"constant": "CONSTANT", "linear": "LINEAR", "cosine": "COSINE",
             "cosine_with_restarts": "COSINE_WITH_HARD_RESTARTS"}  # fmt: skip
_WEIGHTS = {"min_snr": "MIN_SNR_GAMMA", "debiased": "DEBIASED_ESTIMATION",
           "onetrainer_debiased_v": "DEBIASED_ESTIMATION",
           "p2": "P2", "onetrainer_p2_v": "P2"}  # fmt: skip


def to_onetrainer(config: RunConfig) -> tuple[dict[str, Any], list[Dropped]]:
    """Export a run: (OneTrainer's fields under flat names such as `unet.train`, dropped fields)."""
    dropped: list[Dropped] = []
    train, model = config.train, config.model
    sdxl = is_sdxl_run(config)
    options: dict[str, Any] = {
        "__version": NOW,  # without it OneTrainer takes a file for its oldest kind, and stops at it
        "training_method": "LORA" if train.method == "lora" else "FINE_TUNE",
        "base_model_name": model.path or "",
        "train_dtype": _TYPES[model.precision], "output_dtype": _TYPES[config.output.precision],
        "output_model_destination": f"models/{config.name}.safetensors",
        "epochs": train.epochs, "batch_size": train.batch_size,
        "gradient_accumulation_steps": train.gradient_accumulation, "learning_rate": train.learning_rate,
        "learning_rate_warmup_steps": _warmup(config), "clip_grad_norm": train.max_grad_norm or None,
        "unet.train": train.unet, "unet.learning_rate": train.unet_learning_rate,
        "unet.gradient_checkpointing": train.gradient_checkpointing,
        "masked_training": config.data.masked_loss, "aspect_ratio_bucketing": config.data.buckets,
        "resolution": _size(config.data.resolution), "tensorboard": "tensorboard" in config.log.trackers,
    }  # fmt: skip
    if sdxl:
        options["model_type"] = "STABLE_DIFFUSION_XL_10_BASE"
    else:
        dropped.append(
            Dropped("model_type", "OneTrainer has to be told what the model is; by itself it takes it for SD 1.5")
        )
    for part in TEXT:
        options |= {f"{part}.train": getattr(train, part),
                    f"{part}.learning_rate": getattr(train, f"{part}_learning_rate"),
                    # by itself it stops after 30 epochs
                    f"{part}.stop_training_after_unit": "NEVER" if getattr(train, part) else None}  # fmt: skip
    if model.vae:
        options["vae.model_name"] = model.vae
    if model.clip_skip and model.clip_skip > 1:
        options["text_encoder_layer_skip"] = model.clip_skip - 1
    if train.epochs is None:
        dropped.append(
            Dropped(f"train.steps = {train.steps}", "OneTrainer counts epochs alone; set epochs for your images")
        )
        del options["epochs"]
    if train.ema is not None:
        options |= {"ema": "GPU", "ema_decay": train.ema, "ema_update_step_interval": 1}
    if train.method == "lora":
        options |= _network(config, dropped)
    elif config.output.format is not None:
        options["output_model_format"] = "DIFFUSERS" if config.output.format == "diffusers" else "ORIGINAL_SINGLE_FILE"
    options |= _schedule(train.lr_schedule, dropped) | _optimizer(config, dropped) | _recipe(config, dropped)
    options |= {"concepts": _concepts(config, dropped), "samples": _samples(config, dropped)}
    for section in ("sample", "output"):
        options |= _interval(config, section)
    _drop_unsupported_fields(config, dropped)
    values = {name: value for name, value in options.items() if value is not None and value != []}
    return values | ({} if train.max_grad_norm else {"clip_grad_norm": None}), dropped  # null is no limit, 0 is all


def _warmup(config: RunConfig) -> float:
    warmup = config.train.warmup
    if isinstance(warmup, str):
        return float(warmup[:-1]) / 100
    return float(warmup) if warmup < 1 else float(warmup * config.train.gradient_accumulation)


def _size(value: int | list[int]) -> str:
    return str(value) if isinstance(value, int) else f"{value[0]}x{value[1]}"


def _network(config: RunConfig, dropped: list[Dropped]) -> dict[str, Any]:
    lora = config.lora
    presets = {tuple(layers): name for name, layers in LAYERS.items() if name}
    preset = presets.get(tuple(lora.layers))
    if preset is None:
        dropped.append(Dropped(f"lora.layers = {shown(lora.layers)}", "OneTrainer has no preset for it"))
    for name in ("conv_rank", "conv_alpha", "block_ranks", "block_alphas", "conv_block_ranks", "conv_block_alphas",
                 "rank_dropout", "module_dropout", "loraplus_ratio", "max_norm"):  # fmt: skip
        if value := getattr(lora, name):
            dropped.append(Dropped(f"lora.{name} = {shown(value)}", NOTHING))
    return {
        "lora_rank": lora.rank, "lora_alpha": lora.alpha or float(lora.rank), "lora_decompose": lora.dora,
        "dropout_probability": lora.dropout, "layer_filter_preset": preset, "lora_model_name": lora.start_from,
        "layer_filter": next((text for text, kind in PATTERNS.items() if kind == preset), None),
        "output_model_format": "KOHYA_LORA" if config.output.lora_format == "kohya" else "DIFFUSERS_LORA",
    }  # fmt: skip


def _schedule(choice: Choice, dropped: list[Dropped]) -> dict[str, Any]:
    params = choice.params
    if choice.name == "cosine_with_min_lr":
        least = {"learning_rate_min_factor": params["min_ratio"]}
        if params["cycles"] == 1:
            return {"learning_rate_scheduler": "COSINE", **least}
        return {
            "learning_rate_scheduler": "COSINE_WITH_RESTARTS",
            "learning_rate_cycles": params["cycles"] / 2,
            **least,
        }
    if choice.name == "polynomial" and params["power"] == 1:
        return {"learning_rate_scheduler": "LINEAR", "learning_rate_min_factor": params["end"]}
    if choice.name in _SCHEDULES:
        cycles = {"learning_rate_cycles": float(params["cycles"])} if "cycles" in params else {}
        return {"learning_rate_scheduler": _SCHEDULES[choice.name], **cycles}
    dropped.append(Dropped(f"train.lr_schedule = {choice.spec}", NOTHING))
    return {}


def _optimizer(config: RunConfig, dropped: list[Dropped]) -> dict[str, Any]:
    choice = config.train.optimizer
    names = {ours: theirs for theirs, ours in OPTIMIZER_NAMES.items()}
    if choice.name not in names:
        dropped.append(Dropped(f"train.optimizer = {choice.spec}", NOTHING))
        return {}
    params = {f"optimizer.{key}": value for key, value in choice.params.items()}
    fused = {"optimizer.fused_back_pass": True} if config.train.fused_backward else {}
    return {"optimizer.optimizer": names[choice.name], **params, **fused}


# fields of [recipe] that are written below, or that OneTrainer decides by itself
_CARRIED = ("prediction_type", "zero_terminal_snr", "weighting", "product_on", "density", "sampling", "perturbation",
           "noise")  # fmt: skip


def _recipe(config: RunConfig, dropped: list[Dropped]) -> dict[str, Any]:
    recipe = config.recipe
    v = recipe.prediction_type == "v_prediction"
    options: dict[str, Any] = {
        "force_v_prediction": True if v and not recipe.zero_terminal_snr else None,
        "force_epsilon_prediction": True if recipe.prediction_type == "epsilon" else None,
        "rescale_noise_scheduler_to_zero_terminal_snr": True if recipe.zero_terminal_snr else None,
    }
    options |= _weight(config, v, dropped)
    if recipe.perturbation is not None:
        reason = "OneTrainer's perturbation goes into the target too, which is no input perturbation"
        dropped.append(Dropped(f"recipe.perturbation = {recipe.perturbation.spec}", reason))
    if recipe.noise is not None and recipe.noise.name == "offset":
        options["offset_noise_weight"] = recipe.noise.params["strength"]
        for name in ("random_strength", "adaptive_scale"):
            if value := recipe.noise.params[name]:
                dropped.append(Dropped(f"{name} = {shown(value)} of recipe.noise", NOTHING))
    elif recipe.noise is not None and recipe.noise.name != "gaussian":
        dropped.append(Dropped(f"recipe.noise = {recipe.noise.spec}", NOTHING))
    if recipe.density is not None:
        drawn = options_of(recipe.density)
        options |= drawn or {}
        if drawn is None:
            dropped.append(
                Dropped(f"recipe.density = {recipe.density.name}", "OneTrainer has other timestep distributions")
            )
    dropped += fields_left(recipe, _CARRIED, NOTHING)
    return options


def _weight(config: RunConfig, v: bool, dropped: list[Dropped]) -> dict[str, Any]:
    recipe = config.recipe
    for number, choice in enumerate(recipe.weighting):
        name = _WEIGHTS.get(choice.name)
        other = choice.name in ("debiased", "p2") and v
        if number or name is None or other or choice.params.get("k", 1.0) != 1.0:
            reason = (
                "under v OneTrainer computes another weighting" if other else "OneTrainer takes one of a few weightings"
            )
            dropped.append(Dropped(f"recipe.weighting {choice.spec}", reason))
            return {}
    if not recipe.weighting:
        return {}
    choice = recipe.weighting[0]
    strength = {"loss_weight_strength": choice.params["gamma"]} if "gamma" in choice.params else {}
    return {"loss_weight_fn": _WEIGHTS[choice.name], **strength}


def _concepts(config: RunConfig, dropped: list[Dropped]) -> list[dict[str, Any]]:
    data = config.data
    concepts = [_concept(s.folder, s.options(data), s.importance, s.regularisation) for s in data.sets]
    if data.folder is not None:
        concepts.append(_concept(data.folder, data, None, False))
    if data.regularisation is not None:
        concepts.append(_concept(data.regularisation, ImageOptions(), None, True))
    if data.dataset_config or data.shipped:
        dropped.append(
            Dropped("data.dataset_config or data.shipped", "OneTrainer reads folders; name them as concepts")
        )
    return concepts


# options of captions that a concept has too
_OF_CONCEPTS = ("shuffle_tags", "keep_tokens", "caption_separator", "tag_dropout")


def _concept(folder: str, options: ImageOptions, importance: float | None, regularisation: bool) -> dict[str, Any]:
    text: dict[str, Any] = {}
    if options.moves_tags:
        text = {"enable_tag_shuffling": options.shuffle_tags, "keep_tags_count": options.keep_tokens,
                "tag_delimiter": options.caption_separator}  # fmt: skip
    if options.tag_dropout:
        text |= {
            "tag_dropout_enable": True,
            "tag_dropout_probability": options.tag_dropout,
            "tag_dropout_mode": "RANDOM",
        }
    concept: dict[str, Any] = {
        "__version": CONCEPT_NOW, "path": folder, "name": folder.replace("\\", "/").rstrip("/").rpartition("/")[2],
        "balancing": float(options.repeats), "balancing_strategy": "REPEATS",
        "image": {"enable_random_flip": options.flip, "enable_crop_jitter": options.random_crop}, "text": text,
    }  # fmt: skip
    if importance is not None:
        concept["loss_weight"] = importance
    if regularisation:
        concept["type"] = "PRIOR_PREDICTION"
    return concept


def _samples(config: RunConfig, dropped: list[Dropped]) -> list[dict[str, Any]]:
    samples = []
    for place, text in enumerate(config.sample.prompts, 1):
        line = parse_line(text, f"prompt {place}")
        sample = {"prompt": line.prompt, "negative_prompt": line.negative, "width": line.width, "height": line.height,
                  "seed": line.seed, "cfg_scale": line.guidance, "diffusion_steps": line.steps,
                  "noise_scheduler": _sampler(line.sampler or config.sample.sampler, place, dropped)}  # fmt: skip
        samples.append({name: value for name, value in sample.items() if value is not None})
    return samples


def _sampler(name: str, place: int, dropped: list[Dropped]) -> str | None:
    """OneTrainer's name of a sampler; None for its default, and for one that it does not have."""
    if not SAMPLERS[name].onetrainer:
        dropped.append(Dropped(f"sampler {name} of prompt {place}", "OneTrainer has no such sampler"))
    return None if name == DEFAULT_SAMPLER else SAMPLERS[name].onetrainer or None


def _interval(config: RunConfig, section: str) -> dict[str, Any]:
    table = getattr(config, section)
    name = "sample_after" if section == "sample" else "save_every"
    for value, unit in ((table.every * config.train.gradient_accumulation, "STEP"), (table.every_epochs, "EPOCH")):
        if value:
            return {name: value, f"{name}_unit": unit}
    return {}


def _drop_unsupported_fields(config: RunConfig, dropped: list[Dropped]) -> None:
    """Drop the fields that OneTrainer has no counterpart for and that are not at their default."""
    if config.seed != RunConfig.model_fields["seed"].default:
        dropped.append(
            Dropped(f"seed = {config.seed}", "OneTrainer's random numbers depend on the step alone", "harmless")
        )
    if config.step_seed is not None:
        dropped.append(
            Dropped(
                f"step_seed = {config.step_seed}", "OneTrainer's random numbers depend on the step alone", "harmless"
            )
        )
    if others := [name for name in config.log.trackers if name != "tensorboard"]:
        dropped.append(Dropped(f"log.trackers = {shown(others)}", "OneTrainer has TensorBoard alone"))
    if config.model.path is None:
        dropped.append(Dropped("model.shipped or model.random", "no file that OneTrainer could load; convert it first"))
    for section, names in (
        ("data", ("alpha_mask", "weighted_captions", "caption",
                  *(name for name in CaptionOptions.model_fields if name not in _OF_CONCEPTS))),
        ("train", ("loss", "weights")), ("validation", ("images", "folder")),
        ("output", ("title", "author", "description", "license", "tags", "trigger_phrase", "keep_last")),
        ("sample", ("prompts_file", "at_start")), ("model", ("max_tokens",)),
    ):  # fmt: skip
        table = getattr(config, section)
        for name in names:
            value, default = getattr(table, name), type(table).model_fields[name].get_default(call_default_factory=True)
            if value != default:
                text = value.spec if isinstance(value, Choice) else shown(value)
                dropped.append(Dropped(f"{section}.{name} = {text}", NOTHING))
