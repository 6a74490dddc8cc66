"""OneTrainer's configuration as the lines of a run file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snrlab.config.onetrainer_options import OPTIONS, flat
from snrlab.core.errors import UserError
from snrlab.core.training import OPTIMIZERS, usual
from snrlab.files.text import read_json_list
from snrlab.lab.exchange.fitting import fit_to_optimizer
from snrlab.lab.exchange.onetrainer_data import images, prompts
from snrlab.lab.exchange.recipe import recipe
from snrlab.lab.exchange.simple import read_size
from snrlab.lab.exchange.transfer import Left, Transfer, shown
from snrlab.lab.sources.asked import Understood

NAMES: Mapping[str, tuple[str, ...]] = {
    "prediction_type": ("force_v_prediction", "force_epsilon_prediction"),
    "zero_terminal_snr": ("rescale_noise_scheduler_to_zero_terminal_snr",),
    "weighting": ("loss_weight_fn", "loss_weight_strength"),
    "density": ("timestep_distribution", "min_noising_strength", "max_noising_strength", "noising_weight",
                "noising_bias", "timestep_shift"),
    "perturbation": ("perturbation_noise_weight",), "noise": ("offset_noise_weight",),
}  # fmt: skip
TYPES = {"FLOAT_16": "fp16", "BFLOAT_16": "bf16", "FLOAT_32": "fp32", "TFLOAT_32": "fp32"}
OPTIMIZER_NAMES = {"ADAMW": "adamw", "ADAMW_8BIT": "adamw8bit", "LION": "lion", "PRODIGY": "prodigy",
                   "ADAFACTOR": "adafactor", "SCHEDULE_FREE_ADAMW": "schedule_free"}  # fmt: skip
LAYERS = {"full": ["attention", "feed_forward", "convolution"], "": ["attention", "feed_forward", "convolution"],
          "attn-mlp": ["attention", "feed_forward"], "attn-only": ["attention"]}  # fmt: skip
FORMATS = {"SAFETENSORS": "single_file", "CKPT": "single_file", "DIFFUSERS": "diffusers"}
TEXT = ("text_encoder", "text_encoder_2")
PLAIN = ("epochs", "batch_size", "gradient_accumulation_steps", "learning_rate", "aspect_ratio_bucketing",
         "masked_training")  # fmt: skip


def from_onetrainer(understood: Understood, folder: Path, *, as_is: bool = False) -> Transfer:
    """The lines of a run file, and what is left.

    Raises:
        UserError: the configuration is for a kind of training that is not here.
    """
    transfer = Transfer(flat(understood.asked.options), OPTIONS, "OneTrainer")
    model(transfer)
    images(transfer, folder)
    recipe(transfer, understood, NAMES, as_is=as_is)
    transfer.take("model_type")
    lora = method(transfer)
    parts(transfer, str(transfer.value("model_type")))
    for name in PLAIN:
        transfer.put(OPTIONS[name].here, _number(name, transfer.value(name)), name)
    schedule(transfer)
    optimizer(transfer)
    if transfer.value("ema") != "OFF":
        transfer.put("train.ema", float(transfer.value("ema_decay")), "ema_decay", "ema")
    transfer.take("ema", "ema_decay")
    if lora:
        network(transfer)
    prompts(transfer, folder)
    rhythm(transfer, "sample", "sample_after")
    rhythm(transfer, "output", "save_every")
    if transfer.stated.get("tensorboard") is True:
        transfer.put("log.trackers", ["tensorboard"], "tensorboard")
    if transfer.has("concepts"):
        transfer.take("concept_file_name")
    fit_to_optimizer(transfer)
    transfer.leave_the_rest("drops it")
    return transfer


def _number(name: str, value: Any) -> Any:
    kind = OPTIONS[name].type
    if kind in ("int", "float") and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise UserError(f"{name} is {shown(value)}; it must be a number.")
    return float(value) if kind == "float" else int(value) if kind == "int" else value


def model(transfer: Transfer) -> None:
    """[model], the run's name, and number formats."""
    transfer.put("model.path", str(transfer.value("base_model_name")), "base_model_name")
    transfer.put("model.vae", transfer.value("vae.model_name") or None, "vae.model_name")
    for name, field in (("train_dtype", "model.precision"), ("output_dtype", "output.precision")):
        kind = TYPES.get(str(transfer.value(name)))
        if kind is None:
            transfer.leave(name, f"{field} is fp32, fp16 or bf16")
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


def method(transfer: Transfer) -> bool:
    """train.method; whether it is a LoRA."""
    kind = str(transfer.value("training_method"))
    if kind not in ("LORA", "FINE_TUNE"):
        raise UserError(f"training_method is {kind}: LORA and FINE_TUNE are trained here.")
    transfer.take("training_method", "output_model_format")
    if kind == "LORA":
        return True
    transfer.put("train.method", "full", "training_method")
    transfer.put("output.format", FORMATS.get(str(transfer.value("output_model_format"))), "output_model_format")
    return False


def parts(transfer: Transfer, model_type: str) -> None:
    """Which networks are trained, at which rate, with checkpointing or not."""
    names = ("unet", *(TEXT if "XL" in model_type else TEXT[:1]))
    for part in names:
        on = bool(transfer.value(f"{part}.train"))
        transfer.put(f"train.{part}", on, f"{part}.train")
        rate = transfer.value(f"{part}.learning_rate")
        if on:
            transfer.put(f"train.{part}_learning_rate", float(rate) if rate else None, f"{part}.learning_rate")
        else:
            transfer.leave(f"{part}.learning_rate", "it is not trained", grade="idle")
            transfer.leave(f"{part}.stop_training_after", "it is not trained", grade="idle")
    if "XL" not in model_type:
        for name in [name for name in transfer.stated if name.startswith("text_encoder_2.")]:
            transfer.leave(name, "the model has one text encoder", grade="idle")
    transfer.put("train.gradient_checkpointing", bool(transfer.value("unet.gradient_checkpointing")),
                 "unet.gradient_checkpointing")  # fmt: skip


def schedule(transfer: Transfer) -> None:
    """train.lr_schedule and train.warmup."""
    kind = str(transfer.value("learning_rate_scheduler"))
    least = float(transfer.value("learning_rate_min_factor") or 0)
    cycles = float(transfer.value("learning_rate_cycles") or 1)
    names = ["learning_rate_scheduler"]
    why = ""
    match kind:
        case "CONSTANT":
            found: dict[str, Any] = {"name": "constant"}
        case "LINEAR":
            found = {"name": "polynomial", "power": 1.0, "end": least} if least else {"name": "linear"}
            names += ["learning_rate_min_factor"]
        case "COSINE":
            found = {"name": "cosine_with_min_lr", "min_ratio": least} if least else {"name": "cosine"}
            names += ["learning_rate_min_factor"]
        case "COSINE_WITH_RESTARTS":
            found = {"name": "cosine_with_min_lr", "min_ratio": least, "cycles": max(1, round(2 * cycles))}
            why = "OneTrainer's COSINE_WITH_RESTARTS is a wave: down, and up again without a jump."
            names += ["learning_rate_cycles", "learning_rate_min_factor"]
        case "COSINE_WITH_HARD_RESTARTS":
            found = {"name": "cosine_with_restarts", "cycles": max(1, round(cycles))}
            names += ["learning_rate_cycles"]
        case _:
            found, why = {"name": "constant"}, f"OneTrainer's {kind} has no counterpart here; the rate stays as it is."
    transfer.put("train.lr_schedule", found, *names, why=why)
    warmup = float(transfer.value("learning_rate_warmup_steps"))
    transfer.put("train.warmup", int(warmup) if warmup >= 1 else warmup, "learning_rate_warmup_steps")


def optimizer(transfer: Transfer) -> None:
    """train.optimizer with the parameters that it has here."""
    kind = str(transfer.value("optimizer.optimizer"))
    name = OPTIMIZER_NAMES.get(kind)
    stated = [n for n in transfer.stated if n.startswith("optimizer.") and transfer.has(n)]
    if name is None:
        for option in stated:
            transfer.leave(option, f"{kind} is not offered here; adamw is written instead")
        transfer.put("train.optimizer", {"name": "adamw"}, why=f"Instead of OneTrainer's {kind}.")
        return
    parameters = usual(OPTIMIZERS, name).entry.parameters
    found: dict[str, Any] = {"name": name}
    names = ["optimizer.optimizer"]
    for option in stated:
        key = option.partition(".")[2]
        if key in parameters:
            value = transfer.value(option)
            found[key] = float(value) if float in parameters[key].types else value
            names.append(option)
    transfer.put("train.optimizer", found, *names)
    if transfer.value("optimizer.fused_back_pass") is True and name in ("adafactor", "adamw"):
        transfer.put("train.fused_backward", True, "optimizer.fused_back_pass")
        transfer.put("train.max_grad_norm", 0.0, "clip_grad_norm",
                     why="The norm of all gradients is never known with fused_backward.")  # fmt: skip
    elif transfer.stated.get("clip_grad_norm", 1.0) is None:
        transfer.put("train.max_grad_norm", 0.0, why="clip_grad_norm is null: no limit.")
    else:
        transfer.put("train.max_grad_norm", float(transfer.value("clip_grad_norm")), "clip_grad_norm")


def network(transfer: Transfer) -> None:
    """[lora]."""
    transfer.put("lora.rank", int(transfer.value("lora_rank")), "lora_rank")
    transfer.put("lora.alpha", float(transfer.value("lora_alpha")), "lora_alpha")
    transfer.put("lora.dora", bool(transfer.value("lora_decompose")), "lora_decompose")
    transfer.put("lora.dropout", float(transfer.value("dropout_probability")), "dropout_probability")
    transfer.put("lora.start_from", transfer.value("lora_model_name") or None, "lora_model_name")
    preset = str(transfer.value("layer_filter_preset") or "full")
    if preset in LAYERS:
        transfer.put("lora.layers", LAYERS[preset], "layer_filter_preset")
    else:
        transfer.leave("layer_filter_preset", "lora.layers chooses kinds of layers, lora.block_ranks blocks")


def rhythm(transfer: Transfer, section: str, name: str) -> None:
    """How often, where it is in steps or epochs; minutes are left."""
    unit, value = str(transfer.value(f"{name}_unit")), transfer.value(name)
    prompts_there = section != "sample" or any(line.name == "sample.prompts" for line in transfer.lines)
    if unit in ("EPOCH", "STEP") and value and prompts_there:
        field = "every" if unit == "STEP" else "every_epochs"
        transfer.put(f"{section}.{field}", int(value), name, f"{name}_unit")
        return
    for option in (name, f"{name}_unit"):
        why = "there are no prompts" if not prompts_there else f"{section}.every counts steps, every_epochs epochs"
        if unit in ("NEVER", "ALWAYS") and section == "output":
            transfer.take(option)
        else:
            transfer.leave(option, why)


def read_list(transfer: Transfer, name: str, file_name: str, folder: Path) -> list[dict[str, Any]] | None:
    """A list that stands in the configuration or in a file that it names; None where there is none."""
    if isinstance(transfer.stated.get(name), list):
        transfer.take(name)
        return [item for item in transfer.stated[name] if isinstance(item, dict)]
    if not transfer.has(file_name):
        return None
    stated = str(transfer.stated[file_name])
    path = next((p for p in (Path(stated), folder / stated, folder.parent / stated) if p.is_file()), None)
    if path is None:
        transfer.leave(file_name, "there is no such file beside the configuration")
        return None
    transfer.take(file_name)
    try:
        return [item for item in read_json_list(path) if isinstance(item, dict)]
    except UserError as reason:
        transfer.left.append(Left(f"{file_name} = {shown(stated)}", str(reason)))
        return None


def sizes(text: Any) -> list[Any]:
    """The resolutions of a configuration: one or several, `512` or `512x768`.

    >>> sizes("512"), sizes("512x768,1024")
    ([512], [[512, 768], 1024])
    """
    return [read_size(part)[0] for part in str(text).split(",")]
