"""Import of OneTrainer's configuration: its fields as the lines of a run file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snrlab.config.option_tables.onetrainer import ONETRAINER_FIELDS, flatten_options
from snrlab.core.errors import UserError
from snrlab.peers.conversion import Conversion, shown
from snrlab.peers.onetrainer.dataset_options import import_images, import_onetrainer_prompts
from snrlab.peers.onetrainer.interpretation import V_MODELS
from snrlab.peers.onetrainer.training_options import (
    batches_reason,
    batches_to_steps,
    import_ema,
    import_onetrainer_lr_schedule,
    import_onetrainer_optimizer,
    import_parts,
)
from snrlab.peers.optimizer_constraints import fit_to_optimizer
from snrlab.peers.recipe_import import recipe
from snrlab.peers.settings import Interpretation

_NAMES: Mapping[str, tuple[str, ...]] = {
    "zero_terminal_snr": ("rescale_noise_scheduler_to_zero_terminal_snr",),
    "weighting": ("loss_weight_fn", "loss_weight_strength"),
    "density": ("timestep_distribution", "min_noising_strength", "max_noising_strength", "noising_weight",
                "noising_bias", "timestep_shift"),
    "perturbation": ("perturbation_noise_weight",), "noise": ("offset_noise_weight",),
}  # fmt: skip
_TYPES = {"FLOAT_16": "fp16", "BFLOAT_16": "bf16", "FLOAT_32": "fp32", "TFLOAT_32": "fp32"}
LAYERS = {"full": ["attention", "feed_forward", "convolution"], "": ["attention", "feed_forward", "convolution"],
          "attn-mlp": ["attention", "feed_forward"], "attn-only": ["attention"]}  # fmt: skip
_FORMATS = {"SAFETENSORS": "single_file", "LEGACY_SAFETENSORS": "single_file", "ORIGINAL_SINGLE_FILE": "single_file",
           "CKPT": "single_file", "DIFFUSERS": "diffusers"}  # fmt: skip
FILTERS = ("layer_filter", "layer_filter_preset")
PATTERNS = {"attentions": "attn-mlp", "attn": "attn-only"}  # of the presets
LORA_FORMATS = {"DIFFUSERS_LORA": "peft", "KOHYA_LORA": "kohya", "LEGACY_LORA": "kohya", "SAFETENSORS": "kohya"}
_OTHER_MODELS = {"INPAINTING": "an inpainting model", "DEPTH": "a depth-to-image model"}
_PLAIN = ("epochs", "batch_size", "gradient_accumulation_steps", "learning_rate", "aspect_ratio_bucketing",
         "masked_training")  # fmt: skip


def from_onetrainer(interpretation: Interpretation, folder: Path, *, as_is: bool = False) -> Conversion:
    """Convert a configuration into the lines of a run file, with the options that were dropped.

    Raises:
        UserError: the configuration is for a kind of training that is not supported.
    """
    conversion = Conversion(flatten_options(interpretation.settings.options), ONETRAINER_FIELDS, "OneTrainer")
    import_onetrainer_model(conversion)
    import_images(conversion, folder)
    recipe(conversion, interpretation, {**_NAMES, "prediction_type": _prediction(conversion)}, as_is=as_is)
    refuse_other_onetrainer_models(str(conversion.value("model_type")))
    conversion.mark_used("model_type", "__version")
    lora = import_onetrainer_method(conversion)
    import_parts(conversion, str(conversion.value("model_type")))
    for name in _PLAIN:
        conversion.set(ONETRAINER_FIELDS[name].field, _number(name, conversion.value(name)), name)
    import_onetrainer_lr_schedule(conversion)
    import_onetrainer_optimizer(conversion)
    import_ema(conversion)
    if lora:
        import_onetrainer_network(conversion)
    else:
        for name in FILTERS:
            conversion.drop(name, "with train.method = full every layer of a network is trained")
    import_onetrainer_prompts(conversion, folder)
    import_onetrainer_interval(conversion, "sample", "sample_after")
    import_onetrainer_interval(conversion, "output", "save_every")
    if conversion.options.get("tensorboard") is True:
        conversion.set("log.trackers", ["tensorboard"], "tensorboard")
    else:
        conversion.drop("tensorboard", "no tracker is on by default", severity="harmless")
    conversion.drop("embedding", "only used when an embedding is trained", severity="harmless")
    if conversion.has("concepts"):
        conversion.mark_used("concept_file_name")
    fit_to_optimizer(conversion)
    conversion.drop_unused("drops it")
    return conversion


def _number(name: str, value: Any) -> Any:
    kind = ONETRAINER_FIELDS[name].type
    if kind in ("int", "float") and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise UserError(f"{name} is {shown(value)}; it must be a number.", code="not-a-number")
    return float(value) if kind == "float" else int(value) if kind == "int" else value


def import_onetrainer_model(conversion: Conversion) -> None:
    """Import [model], the name of the run, and the number formats."""
    conversion.set("model.path", str(conversion.value("base_model_name")), "base_model_name")
    conversion.set("model.vae", conversion.value("vae.model_name") or None, "vae.model_name")
    for name, field in (("train_dtype", "model.precision"), ("output_dtype", "output.precision")):
        kind = _TYPES.get(str(conversion.value(name)))
        if kind is None:
            conversion.drop(name, f"{field} is fp32, fp16 or bf16", code="invalid-value")
        conversion.set(field, kind, name)
    skip = int(conversion.value("text_encoder_layer_skip") or 0)
    xl = "XL" in str(conversion.value("model_type"))
    if skip and xl:
        conversion.drop("text_encoder_layer_skip", "SDXL always uses the second-to-last layer of its text encoders")
    elif skip:
        reason = "Counted from the last layer, 1."
        conversion.set("model.clip_skip", skip + 1, "text_encoder_layer_skip", reason=reason)
    conversion.mark_used("text_encoder_layer_skip")
    stem = Path(str(conversion.value("output_model_destination"))).stem.replace(" ", "-")
    conversion.set("name", stem if stem[:1].isalnum() and stem.isascii() else None, "output_model_destination")


def import_onetrainer_method(conversion: Conversion) -> bool:
    """Import train.method and the format of the result; whether a LoRA is trained."""
    kind = str(conversion.value("training_method"))
    if kind not in ("LORA", "FINE_TUNE"):
        raise UserError(f"training_method is {kind}: LORA and FINE_TUNE are trained here.", code="not-supported")
    conversion.mark_used("training_method")
    lora = kind == "LORA"
    if not lora:
        conversion.set("train.method", "full", "training_method")
    field, formats = ("output.lora_format", LORA_FORMATS) if lora else ("output.format", _FORMATS)
    format_name = formats.get(str(conversion.value("output_model_format")))
    if format_name is None:
        conversion.drop("output_model_format", f"{field} has no such format", code="invalid-value")
    conversion.set(field, format_name, "output_model_format")
    return lora


def _prediction(conversion: Conversion) -> tuple[str, ...]:
    """Options that set the prediction type; none where OneTrainer follows the model, as snrlab does."""
    zero = "rescale_noise_scheduler_to_zero_terminal_snr"
    forced = tuple(name for name in (zero, "force_v_prediction", "force_epsilon_prediction") if conversion.value(name))
    return forced[:1] or (("model_type",) if str(conversion.value("model_type")) in V_MODELS else ())


def refuse_other_onetrainer_models(model_type: str) -> None:
    """Refuse inpainting and depth models, which take more than a latent (UserError)."""
    for ending, model in _OTHER_MODELS.items():
        if model_type.endswith(ending):
            raise UserError(
                f"model_type is {model_type}: {model} is not trained here; take the model it was made from.",
                code="not-supported",
            )


def import_onetrainer_network(conversion: Conversion) -> None:
    """Import [lora]."""
    conversion.set("lora.rank", int(conversion.value("lora_rank")), "lora_rank")
    conversion.set("lora.alpha", float(conversion.value("lora_alpha")), "lora_alpha")
    conversion.set("lora.dora", bool(conversion.value("lora_decompose")), "lora_decompose")
    conversion.set("lora.dropout", float(conversion.value("dropout_probability")), "dropout_probability")
    conversion.set("lora.start_from", conversion.value("lora_model_name") or None, "lora_model_name")
    preset = str(conversion.value("layer_filter_preset") or "full")
    text = str(conversion.value("layer_filter") or "")  # what it trains by; the window fills it in by the preset
    name, other = FILTERS if text else FILTERS[::-1]
    layers = LAYERS.get(PATTERNS.get(text, "custom") if text else preset)
    if layers is None:
        for option in FILTERS:
            conversion.drop(option, "lora.layers chooses kinds of layers, lora.block_ranks blocks")
        return
    conversion.set("lora.layers", layers, name)
    conversion.drop(other, f"{name} says the same", severity="harmless")


def import_onetrainer_interval(conversion: Conversion, section: str, name: str) -> None:
    """Import an interval in steps or epochs; one in minutes is dropped."""
    unit, value = str(conversion.value(f"{name}_unit")), conversion.value(name)
    has_prompts = section != "sample" or any(line.field == "sample.prompts" for line in conversion.lines)
    if unit in ("EPOCH", "STEP") and value and has_prompts:
        field = "every" if unit == "STEP" else "every_epochs"
        count, reason = (
            (batches_to_steps(conversion, value), batches_reason(conversion)) if unit == "STEP" else (int(value), "")
        )
        conversion.set(f"{section}.{field}", count, name, f"{name}_unit", reason=reason)
        return
    for option in (name, f"{name}_unit"):
        reason = "there are no prompts" if not has_prompts else f"{section}.every counts steps, every_epochs epochs"
        if unit in ("NEVER", "ALWAYS") and section == "output":
            conversion.mark_used(option)
        else:
            conversion.drop(option, reason)
