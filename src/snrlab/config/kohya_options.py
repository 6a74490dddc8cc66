"""Options of kohya's sd-scripts and where their meaning is here: a field of the run file, or a sentence."""

from __future__ import annotations

import re

ALWAYS = "leave it out, it is always so here"
NONE = "there is nothing like it here"
_SAVE_ONCE = "a resumable state is always kept (train.checkpoint_every says how often); leave it out"
_OWN_FORM = "here the run file is all there is; leave it out"

OPTIONS: dict[str, str] = {
    # model
    "pretrained_model_name_or_path": "model.path",
    "v2": "leave it out, the model itself says it",
    "v_parameterization": "recipe.prediction_type",
    "vae": "model.vae",
    "clip_skip": "model.clip_skip",
    "max_token_length": "model.max_tokens",
    "no_half_vae": ALWAYS,
    "tokenizer_cache_dir": "leave it out, the tokenizer ships with snrlab",
    "disable_mmap_load_safetensors": NONE,
    "mixed_precision": "model.precision",
    "full_bf16": "train.weights",
    "full_fp16": "bf16 is what can be trained in: see train.weights",
    "fp8_base": NONE,
    "fp8_base_unet": NONE,
    # network
    "network_module": 'leave it out; train.method = "lora" is the default',
    "network_dim": "lora.rank",
    "network_alpha": "lora.alpha",
    "network_dropout": "lora.dropout",
    "network_args": "its parts are fields of [lora], such as conv_rank, rank_dropout and block_ranks",
    "conv_dim": "lora.conv_rank",
    "conv_alpha": "lora.conv_alpha",
    "rank_dropout": "lora.rank_dropout",
    "module_dropout": "lora.module_dropout",
    "block_dims": "lora.block_ranks",
    "block_alphas": "lora.block_alphas",
    "conv_block_dims": "lora.conv_block_ranks",
    "conv_block_alphas": "lora.conv_block_alphas",
    "loraplus_lr_ratio": "lora.loraplus_ratio",
    "network_weights": "lora.start_from",
    "dim_from_weights": "state lora.rank as the file has it",
    "scale_weight_norms": "lora.max_norm",
    "network_train_unet_only": "leave it out, text encoders are off unless train.text_encoder = true",
    "network_train_text_encoder_only": "train.unet",
    "base_weights": "merge them into the model first, with snrlab merge",
    # rates, optimizer, schedule
    "learning_rate": "train.learning_rate",
    "unet_lr": "train.unet_learning_rate",
    "text_encoder_lr": "train.text_encoder_learning_rate",
    "learning_rate_te": "train.text_encoder_learning_rate",
    "learning_rate_te1": "train.text_encoder_learning_rate",
    "learning_rate_te2": "train.text_encoder_2_learning_rate",
    "train_text_encoder": "train.text_encoder",
    "optimizer_type": "train.optimizer",
    "optimizer_args": 'parameters of the table, as in train.optimizer = { name = "adamw", weight_decay = 0.01 }',
    "use_8bit_adam": "train.optimizer",
    "use_lion_optimizer": "train.optimizer",
    "lr_scheduler": "train.lr_schedule",
    "lr_scheduler_type": "train.lr_schedule",
    "lr_scheduler_args": "parameters of the table in train.lr_schedule",
    "lr_scheduler_num_cycles": 'cycles, as in train.lr_schedule = { name = "cosine_with_restarts", cycles = 3 }',
    "lr_scheduler_power": 'power, as in train.lr_schedule = { name = "polynomial", power = 2.0 }',
    "lr_scheduler_min_lr_ratio": 'min_ratio, as in train.lr_schedule = { name = "cosine_with_min_lr" }',
    "lr_warmup_steps": "train.warmup",
    "fused_backward_pass": "train.fused_backward",
    "max_grad_norm": "train.max_grad_norm",
    # length, batch, memory
    "max_train_steps": "train.steps",
    "max_train_epochs": "train.epochs",
    "train_batch_size": "train.batch_size",
    "gradient_accumulation_steps": "train.gradient_accumulation",
    "gradient_checkpointing": "train.gradient_checkpointing",
    "seed": "seed, at the top of the file",
    "xformers": "leave it out, torch's own fast attention is always used",
    "sdpa": ALWAYS,
    "mem_eff_attn": "leave it out, torch's own fast attention is always used",
    "lowram": NONE,
    "highvram": NONE,
    "max_data_loader_n_workers": "leave it out, images are encoded before training",
    "persistent_data_loader_workers": "leave it out, images are encoded before training",
    "cache_latents": ALWAYS,
    "cache_latents_to_disk": "data.cache",
    "cache_text_encoder_outputs": "leave it out, captions that never change are encoded once",
    "cache_text_encoder_outputs_to_disk": "data.cache",
    "vae_batch_size": "data.vae_batch_size",
    "skip_cache_check": "leave it out, what is cached is known by its content",
    "torch_compile": NONE,
    # recipe
    "min_snr_gamma": 'recipe.weighting = [{ name = "min_snr", gamma = 5.0 }]',
    "debiased_estimation_loss": 'recipe.weighting = [{ name = "debiased" }]',
    "scale_v_pred_loss_like_noise_pred": 'recipe.weighting = [{ name = "scale_v_pred_loss_like_noise_pred" }]',
    "v_pred_like_loss": 'recipe.weighting = [{ name = "v_pred_like_loss", scale = 1.0 }]',
    "zero_terminal_snr": "recipe.zero_terminal_snr",
    "noise_offset": 'recipe.noise = { name = "offset", strength = 0.05 }',
    "multires_noise_iterations": 'recipe.noise = { name = "pyramid", iterations = 6, discount = 0.3 }',
    "multires_noise_discount": 'recipe.noise = { name = "pyramid", iterations = 6, discount = 0.3 }',
    "ip_noise_gamma": 'recipe.perturbation = { name = "ip_noise", gamma = 0.1 }',
    "ip_noise_gamma_random_strength": 'recipe.perturbation = { name = "ip_noise_random", gamma = 0.1 }',
    "min_timestep": 'recipe.density = { name = "uniform", min_timestep = 0, max_timestep = 1000 }',
    "max_timestep": 'recipe.density = { name = "uniform", min_timestep = 0, max_timestep = 1000 }',
    "loss_type": "train.loss",
    "huber_schedule": "a parameter of train.loss",
    "huber_c": "a parameter of train.loss",
    "huber_scale": "a parameter of train.loss",
    "prior_loss_weight": "data.prior_loss_weight",
    "masked_loss": "data.masked_loss",
    "conditioning_data_dir": "data.masks",
    "alpha_mask": "data.alpha_mask",
    "weighted_captions": "data.weighted_captions",
    # images and captions
    "train_data_dir": "data.folder",
    "image_dir": "data.folder",
    "reg_data_dir": "data.regularisation",
    "in_json": "put a metadata.jsonl into data.folder",
    "dataset_config": "data.dataset_config",
    "dataset_repeats": "data.repeats",
    "num_repeats": "data.repeats",
    "resolution": "data.resolution",
    "class_tokens": "data.caption",
    "caption_extension": "data.caption_extension",
    "caption_extention": "data.caption_extension",
    "caption_separator": "data.caption_separator",
    "secondary_separator": "data.secondary_separator",
    "shuffle_caption": "data.shuffle_tags",
    "keep_tokens": "data.keep_tokens",
    "keep_tokens_separator": "data.keep_tokens_separator",
    "enable_wildcard": "data.wildcards",
    "caption_prefix": "data.caption_prefix",
    "caption_suffix": "data.caption_suffix",
    "caption_dropout_rate": "data.caption_dropout",
    "caption_dropout_every_n_epochs": "data.caption_dropout_every_n_epochs",
    "caption_tag_dropout_rate": "data.tag_dropout",
    "token_warmup_min": "data.token_warmup_min",
    "token_warmup_step": "data.token_warmup_steps",
    "flip_aug": "data.flip",
    "random_crop": "data.random_crop",
    "color_aug": NONE,
    "face_crop_aug_range": NONE,
    "enable_bucket": "data.buckets",
    "min_bucket_reso": "data.bucket_min",
    "max_bucket_reso": "data.bucket_max",
    "bucket_reso_steps": "data.bucket_step",
    "bucket_no_upscale": "data.bucket_upscale",
    # output
    "output_dir": "the folder is given on the command line: snrlab train RUN --out DIR",
    "output_name": "name, at the top of the file",
    "save_precision": "output.precision",
    "save_model_as": "output.format",
    "save_every_n_steps": "output.every",
    "save_every_n_epochs": "output.every_epochs",
    "save_last_n_steps": "output.keep_last",
    "save_last_n_epochs": "output.keep_last",
    "save_state": _SAVE_ONCE,
    "save_state_on_train_end": _SAVE_ONCE,
    "resume": "go on with a run by snrlab train RUN --resume",
    "no_metadata": "metadata never holds a path or a file name; leave it out",
    "training_comment": "output.description",
    "metadata_title": "output.title",
    "metadata_author": "output.author",
    "metadata_description": "output.description",
    "metadata_license": "output.license",
    "metadata_tags": "output.tags",
    "metadata_trigger_phrase": "output.trigger_phrase",
    # pictures, validation, logs
    "sample_prompts": "sample.prompts_file",
    "sample_every_n_steps": "sample.every",
    "sample_every_n_epochs": "sample.every_epochs",
    "sample_at_first": "sample.at_start",
    "sample_sampler": "pictures of a run are made with DDIM; leave it out",
    "validation_split": "validation.images, a number of images",
    "validate_every_n_steps": "validation.every",
    "validate_every_n_epochs": "validation.every_epochs",
    "validation_seed": "the images are chosen by seed, at the top of the file",
    "log_with": "log.trackers",
    "logging_dir": "logs are in the run folder; leave it out",
    "log_tracker_name": "log.project",
    "wandb_run_name": "name, at the top of the file",
    "config_file": _OWN_FORM,
    "output_config": _OWN_FORM,
}


def hint(option: str) -> str | None:
    """What to write instead of an option of kohya's; None where it is none of the known ones.

    >>> hint("max_train_steps")
    "that is kohya's name; here it is train.steps"
    >>> hint("seed")
    'it belongs elsewhere: seed, at the top of the file'
    """
    meaning = OPTIONS.get(option)
    if meaning is None:
        return None
    if re.match(rf"(\w+\.)?{option}\b", meaning):
        return f"it belongs elsewhere: {meaning}"
    return f"that is kohya's name; {'here it is ' if re.match(r'[a-z]+[.][a-z]', meaning) else ''}{meaning}"


def is_field(meaning: str) -> bool:
    """Whether a meaning is the name of a field and nothing more."""
    section, dot, name = meaning.partition(".")
    return bool(dot) and section.isidentifier() and name.isidentifier()
