"""OneTrainer's configuration as the lines of a run file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snrlab.config.option_tables.onetrainer import ONETRAINER_FIELDS, flat
from snrlab.core.errors import UserError
from snrlab.peers.conversion import Conversion, shown
from snrlab.peers.onetrainer.data import import_images, import_onetrainer_prompts
from snrlab.peers.onetrainer.meaning import V_MODELS
from snrlab.peers.onetrainer.training import (
    average,
    batches,
    batches_why,
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


def from_onetrainer(understood: Interpretation, folder: Path, *, as_is: bool = False) -> Conversion:
    """The lines of a run file, and what is left.

    Raises:
        UserError: the configuration is for a kind of training that is not here.
    """
    transfer = Conversion(flat(understood.asked.options), ONETRAINER_FIELDS, "OneTrainer")
    import_onetrainer_model(transfer)
    import_images(transfer, folder)
    recipe(transfer, understood, {**_NAMES, "prediction_type": _prediction(transfer)}, as_is=as_is)
    refuse_other_onetrainer_models(str(transfer.value("model_type")))
    transfer.take("model_type", "__version")
    lora = import_onetrainer_method(transfer)
    import_parts(transfer, str(transfer.value("model_type")))
    for name in _PLAIN:
        transfer.put(ONETRAINER_FIELDS[name].field, _number(name, transfer.value(name)), name)
    import_onetrainer_lr_schedule(transfer)
    import_onetrainer_optimizer(transfer)
    average(transfer)
    if lora:
        import_onetrainer_network(transfer)
    else:
        for name in FILTERS:
            transfer.leave(name, "with train.method = full every layer of a network is trained")
    import_onetrainer_prompts(transfer, folder)
    import_onetrainer_interval(transfer, "sample", "sample_after")
    import_onetrainer_interval(transfer, "output", "save_every")
    if transfer.stated.get("tensorboard") is True:
        transfer.put("log.trackers", ["tensorboard"], "tensorboard")
    else:
        transfer.leave("tensorboard", "no tracker is on here by itself", grade="idle")
    transfer.leave("embedding", "read where an embedding is trained", grade="idle")
    if transfer.has("concepts"):
        transfer.take("concept_file_name")
    fit_to_optimizer(transfer)
    transfer.leave_the_rest("drops it")
    return transfer


def _number(name: str, value: Any) -> Any:
    kind = ONETRAINER_FIELDS[name].type
    if kind in ("int", "float") and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise UserError(f"{name} is {shown(value)}; it must be a number.", code="not-a-number")
    return float(value) if kind == "float" else int(value) if kind == "int" else value


def import_onetrainer_model(transfer: Conversion) -> None:
    """[model], the run's name, and number formats."""
    transfer.put("model.path", str(transfer.value("base_model_name")), "base_model_name")
    transfer.put("model.vae", transfer.value("vae.model_name") or None, "vae.model_name")
    for name, field in (("train_dtype", "model.precision"), ("output_dtype", "output.precision")):
        kind = _TYPES.get(str(transfer.value(name)))
        if kind is None:
            transfer.leave(name, f"{field} is fp32, fp16 or bf16", code="invalid-value")
        transfer.put(field, kind, name)
    skip = int(transfer.value("text_encoder_layer_skip") or 0)
    xl = "XL" in str(transfer.value("model_type"))
    if skip and xl:
        transfer.leave("text_encoder_layer_skip", "SDXL always takes the second last layer")
    elif skip:
        why = "Counted from the last layer, 1."
        transfer.put("model.clip_skip", skip + 1, "text_encoder_layer_skip", why=why)
    transfer.take("text_encoder_layer_skip")
    stem = Path(str(transfer.value("output_model_destination"))).stem.replace(" ", "-")
    transfer.put("name", stem if stem[:1].isalnum() and stem.isascii() else None, "output_model_destination")


def import_onetrainer_method(transfer: Conversion) -> bool:
    """train.method; whether it is a LoRA."""
    kind = str(transfer.value("training_method"))
    if kind not in ("LORA", "FINE_TUNE"):
        raise UserError(f"training_method is {kind}: LORA and FINE_TUNE are trained here.", code="not-supported")
    transfer.take("training_method")
    lora = kind == "LORA"
    if not lora:
        transfer.put("train.method", "full", "training_method")
    field, formats = ("output.lora_format", LORA_FORMATS) if lora else ("output.format", _FORMATS)
    found = formats.get(str(transfer.value("output_model_format")))
    if found is None:
        transfer.leave("output_model_format", f"{field} has no such format", code="invalid-value")
    transfer.put(field, found, "output_model_format")
    return lora


def _prediction(transfer: Conversion) -> tuple[str, ...]:
    """What says that the network predicts v or epsilon; nothing where OneTrainer follows the model, as is done here."""
    zero = "rescale_noise_scheduler_to_zero_terminal_snr"
    forced = tuple(name for name in (zero, "force_v_prediction", "force_epsilon_prediction") if transfer.value(name))
    return forced[:1] or (("model_type",) if str(transfer.value("model_type")) in V_MODELS else ())


def refuse_other_onetrainer_models(model_type: str) -> None:
    """Refuse models of the families that take more than a latent (UserError)."""
    for ending, what in _OTHER_MODELS.items():
        if model_type.endswith(ending):
            raise UserError(
                f"model_type is {model_type}: {what} is not trained here; take the model it was made from.",
                code="not-supported",
            )


def import_onetrainer_network(transfer: Conversion) -> None:
    """[lora]."""
    transfer.put("lora.rank", int(transfer.value("lora_rank")), "lora_rank")
    transfer.put("lora.alpha", float(transfer.value("lora_alpha")), "lora_alpha")
    transfer.put("lora.dora", bool(transfer.value("lora_decompose")), "lora_decompose")
    transfer.put("lora.dropout", float(transfer.value("dropout_probability")), "dropout_probability")
    transfer.put("lora.start_from", transfer.value("lora_model_name") or None, "lora_model_name")
    preset = str(transfer.value("layer_filter_preset") or "full")
    text = str(transfer.value("layer_filter") or "")  # what it trains by; the window fills it in by the preset
    name, other = FILTERS if text else FILTERS[::-1]
    layers = LAYERS.get(PATTERNS.get(text, "custom") if text else preset)
    if layers is None:
        for option in FILTERS:
            transfer.leave(option, "lora.layers chooses kinds of layers, lora.block_ranks blocks")
        return
    transfer.put("lora.layers", layers, name)
    transfer.leave(other, f"said by {name}", grade="idle")


def import_onetrainer_interval(transfer: Conversion, section: str, name: str) -> None:
    """How often, where it is in steps or epochs; minutes are left."""
    unit, value = str(transfer.value(f"{name}_unit")), transfer.value(name)
    prompts_there = section != "sample" or any(line.name == "sample.prompts" for line in transfer.lines)
    if unit in ("EPOCH", "STEP") and value and prompts_there:
        field = "every" if unit == "STEP" else "every_epochs"
        count, why = (batches(transfer, value), batches_why(transfer)) if unit == "STEP" else (int(value), "")
        transfer.put(f"{section}.{field}", count, name, f"{name}_unit", why=why)
        return
    for option in (name, f"{name}_unit"):
        why = "there are no prompts" if not prompts_there else f"{section}.every counts steps, every_epochs epochs"
        if unit in ("NEVER", "ALWAYS") and section == "output":
            transfer.take(option)
        else:
            transfer.leave(option, why)
