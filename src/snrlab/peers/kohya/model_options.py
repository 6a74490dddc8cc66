"""Import and export of kohya's options for model, sample pictures, results and logs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from snrlab.config.option_tables.kohya import KOHYA_OPTIONS
from snrlab.config.prompts import check_lines, parse_line, read_lines
from snrlab.config.run import RunConfig
from snrlab.core.errors import UserError
from snrlab.core.registries.samplers import DEFAULT_SAMPLER, SAMPLERS, sampler_named
from snrlab.peers.conversion import Conversion, Dropped, shown
from snrlab.peers.kohya.network_options import is_sdxl, is_sdxl_run, trains_lora
from snrlab.peers.value_rules import FULL_PRECISION, carry

TRACKERS = {"tensorboard": ["tensorboard"], "wandb": ["wandb"], "all": ["tensorboard", "wandb"]}
MODEL = "model.safetensors"
_PLAIN = ("output_name", "seed", "vae", "max_token_length", "mixed_precision", "gradient_accumulation_steps",
         "gradient_checkpointing", "save_precision", "metadata_title", "metadata_author", "metadata_license",
         "metadata_tags", "metadata_trigger_phrase")  # fmt: skip
OF_LORA = ("network_dropout", "scale_weight_norms", "network_weights")
NO_SAMPLER = "kohya has no such sampler, and draws with its default"
_SAMPLER_FLAG = re.compile(r"(?:^|\s)--ss\s+(.*?)(?=\s--[A-Za-z]|$)", re.IGNORECASE)
RHYTHMS = {"output": ("save_every_n_steps", "save_every_n_epochs"),
           "sample": ("sample_every_n_steps", "sample_every_n_epochs"),
           "validation": ("validate_every_n_steps", "validate_every_n_epochs")}  # fmt: skip


def import_model_output(conversion: Conversion, folder: Path) -> None:
    """Import model, output, sample and log options; relative paths are looked up in `folder`."""
    import_model(conversion)
    for name in _PLAIN:
        carry(conversion, name)
    for name in OF_LORA:
        if trains_lora(conversion):
            carry(conversion, name)
    if conversion.value("fused_backward_pass"):
        conversion.set("train.fused_backward", True, "fused_backward_pass")
        conversion.set("train.max_grad_norm", 0.0, "max_grad_norm",
                     reason="The norm of all gradients is never known with fused_backward.")  # fmt: skip
    else:
        carry(conversion, "max_grad_norm")
    import_description(conversion)
    import_interval(conversion, "output")
    import_keep_last(conversion)
    if import_prompts(conversion, folder):
        import_interval(conversion, "sample")
        carry(conversion, "sample_at_first")
        import_sampler(conversion)
    else:
        for name in (*RHYTHMS["sample"], "sample_at_first", "sample_sampler"):
            conversion.drop(name, "there are no prompts for pictures")
    conversion.drop("validation_split", "here it is a number of images: set validation.images")
    for name in RHYTHMS["validation"]:
        conversion.drop(name, "no images are held back: set validation.images, and validation.every with it")
    import_trackers(conversion)


def import_model(conversion: Conversion) -> None:
    """Import [model]: the file or folder, or a placeholder where the source names none."""
    path = str(conversion.options.get("pretrained_model_name_or_path") or "")
    if path.lower().endswith((".ckpt", ".pt")):
        reason = "This is a pickle, which is never opened here: take the .safetensors file of the same model."
        conversion.set("model.path", path, "pretrained_model_name_or_path", reason=reason)
    elif path:
        carry(conversion, "pretrained_model_name_or_path")
    else:
        conversion.set("model.path", MODEL, reason="The source does not name the model: name its file or folder here.")
    if is_sdxl(conversion) or conversion.value("v2"):
        conversion.drop("clip_skip", "SD 2 and SDXL always take the second last layer", severity="harmless")
    else:
        carry(conversion, "clip_skip")


def import_description(conversion: Conversion) -> None:
    """Import output.description, for which kohya has two options."""
    names = [name for name in ("metadata_description", "training_comment") if conversion.has(name)]
    if names:
        conversion.set("output.description", "; ".join(str(conversion.value(name)) for name in names), *names)


def import_interval(conversion: Conversion, section: str) -> None:
    """Import an interval in steps or epochs; steps win where both are stated (kohya follows both)."""
    steps, epochs = RHYTHMS[section]
    if conversion.value(steps):
        conversion.set(f"{section}.every", int(conversion.value(steps)), steps)
        conversion.drop(epochs, f"{steps} is used; a run has one interval")
    elif conversion.value(epochs):
        conversion.set(f"{section}.every_epochs", int(conversion.value(epochs)), epochs)


def import_keep_last(conversion: Conversion) -> None:
    """Import output.keep_last, which counts results; kohya counts steps or epochs back."""
    for interval, last in (("save_every_n_steps", "save_last_n_steps"), ("save_every_n_epochs", "save_last_n_epochs")):
        if conversion.value(last) and conversion.value(interval):
            count = max(1, int(conversion.value(last)) // int(conversion.value(interval)))
            conversion.set("output.keep_last", count, last, reason="Counts saved files, not steps or epochs.")
            break
    if conversion.has("save_n_epoch_ratio"):
        conversion.drop("save_n_epoch_ratio")


def import_prompts(conversion: Conversion, folder: Path) -> bool:
    """Import the prompts, or their file where it can be read; whether there are any."""
    if not conversion.has("sample_prompts"):
        return False
    prompts = conversion.options["sample_prompts"]
    text = str(prompts)
    lines = [str(line) for line in prompts] if isinstance(prompts, list) else text.splitlines()
    if isinstance(prompts, str) and len(lines) == 1 and re.search(r"\.(txt|toml|json)$", text):
        return _import_prompts_file(conversion, text, folder)
    lines = [_known_sampler(conversion, line.strip()) for line in lines if line.strip() and line.strip()[0] != "#"]
    try:
        lines = check_lines(lines)
    except UserError as error:
        conversion.drop("sample_prompts", str(error), code="invalid-value")
        return False
    conversion.set("sample.prompts", lines or None, "sample_prompts")
    return bool(lines)


def import_sampler(conversion: Conversion) -> None:
    """Import the sampler by its name here; one without a counterpart is dropped."""
    try:
        name = sampler_named(str(conversion.value("sample_sampler"))).name
    except UserError as error:
        conversion.drop("sample_sampler", str(error))
        return
    conversion.set("sample.sampler", name, "sample_sampler")


def _known_sampler(conversion: Conversion, line: str) -> str:
    """A prompt line without its `--ss NAME` where the sampler has no counterpart here, which is recorded."""
    for flag in _SAMPLER_FLAG.finditer(line):
        try:
            sampler_named(flag[1].strip())
        except UserError as error:
            conversion.dropped.append(Dropped(flag[0].strip(), str(error), names=("sample_prompts",)))
            return _SAMPLER_FLAG.sub("", line)
    return line


def _import_prompts_file(conversion: Conversion, text: str, folder: Path) -> bool:
    relative = folder / text
    file = Path(text) if Path(text).is_file() or not relative.is_file() else relative
    try:
        read_lines(file, field="")
    except UserError as error:
        conversion.drop("sample_prompts", str(error), code="missing-file")
        return False
    conversion.set("sample.prompts_file", str(file), "sample_prompts")
    return True


def export_prompts(config: RunConfig) -> tuple[tuple[str, ...], list[Dropped]]:
    """Export the prompt lines with kohya's names of the samplers: (lines, samplers that kohya does not have)."""
    lines, dropped = [], []
    for place, line in enumerate(config.sample.prompts, 1):
        name = parse_line(line, f"prompt {place}").sampler
        kohya = SAMPLERS[name].kohya if name else ()
        lines.append(_SAMPLER_FLAG.sub(f" --ss {kohya[0]}" if kohya else "", line))
        if name and not kohya:
            dropped.append(Dropped(f"--ss {name} of prompt {place}", NO_SAMPLER))
    return tuple(lines), dropped


def import_trackers(conversion: Conversion) -> None:
    """Import the trackers of [log]; with a logging_dir alone kohya writes TensorBoard logs."""
    kind = str(conversion.value("log_with") or ("wandb" if conversion.options.get("use_wandb") is True else ""))
    if kind in TRACKERS:
        names = ["log_with"] if conversion.has("log_with") else ["use_wandb"]
        conversion.set("log.trackers", TRACKERS[kind], *names)
        carry(conversion, "log_tracker_name")
    elif kind:
        conversion.drop("log_with")
    elif conversion.has("logging_dir"):
        conversion.set(
            "log.trackers", ["tensorboard"], "logging_dir", reason="The logs are in the run folder, not in logging_dir."
        )
    if not conversion.lines or conversion.lines[-1].field != "log.project":
        conversion.drop("log_tracker_name", "no tracker is on that would use the name", severity="harmless")


def export_model_output(config: RunConfig) -> tuple[dict[str, Any], list[Dropped]]:
    """Export model, output, sample and log fields: (kohya's options, dropped fields)."""
    model, output, sample = config.model, config.output, config.sample
    dropped = _unsupported_fields(config)
    if config.step_seed is not None:
        dropped.append(Dropped(f"step_seed = {config.step_seed}", "kohya has one seed for everything", "harmless"))
    precisions = {"mixed_precision": model.precision, "save_precision": output.precision}
    options: dict[str, Any] = {
        "pretrained_model_name_or_path": model.path,
        "vae": model.vae, "clip_skip": model.clip_skip,
        "max_token_length": model.max_tokens if model.max_tokens > 75 else None,
        "seed": config.seed, "output_name": config.name, "output_dir": f"runs/{config.name}",
        "gradient_accumulation_steps": config.train.gradient_accumulation,
        "gradient_checkpointing": config.train.gradient_checkpointing or None,
        "fused_backward_pass": config.train.fused_backward or None,
        "max_grad_norm": config.train.max_grad_norm,
        **{name: FULL_PRECISION[name] if value == "fp32" else value for name, value in precisions.items()},
        "metadata_title": output.title, "metadata_author": output.author, "metadata_description": output.description,
        "metadata_license": output.license, "metadata_tags": ", ".join(output.tags) or None,
        "metadata_trigger_phrase": output.trigger_phrase,
        "save_every_n_steps": output.every or None, "save_every_n_epochs": output.every_epochs or None,
        "sample_every_n_steps": sample.every or None, "sample_every_n_epochs": sample.every_epochs or None,
        "save_state": True, "sdpa": True, "no_half_vae": is_sdxl_run(config) or None,
    }  # fmt: skip
    if config.train.method == "lora":
        options["save_model_as"] = "safetensors"
    if output.keep_last:
        name = "save_last_n_steps" if output.every else "save_last_n_epochs"
        options[name] = output.keep_last * (output.every or output.every_epochs)
    if sample.prompts_file:
        options["sample_prompts"] = sample.prompts_file
    if sample.prompts or sample.prompts_file:
        options["sample_at_first"] = sample.at_start or None
        kohya = SAMPLERS[sample.sampler].kohya
        if not kohya:
            dropped.append(Dropped(f"sample.sampler = {shown(sample.sampler)}", NO_SAMPLER))
        elif sample.sampler != DEFAULT_SAMPLER:
            options["sample_sampler"] = kohya[0]
    if config.log.trackers:
        kohya_trackers = {tuple(ours): theirs for theirs, ours in TRACKERS.items()}
        kind = kohya_trackers.get(tuple(sorted(config.log.trackers)))
        options["log_with"] = kind
        options["log_tracker_name"] = config.log.project if config.log.project != "snrlab" else None
        if kind is None:
            dropped.append(
                Dropped(f"log.trackers = {shown(config.log.trackers)}", KOHYA_OPTIONS["log_with"].type + " of kohya's")
            )
    return options, dropped


def _unsupported_fields(config: RunConfig) -> list[Dropped]:
    """Fields that kohya has no option for and that are not at their default."""
    dropped = []
    nothing = "kohya has nothing like it"
    if config.model.path is None:
        dropped.append(Dropped("model.shipped or model.random", "no file that kohya could load; convert it first"))
    for section, names in (
        ("model", ("convert",)), ("sample", ("steps", "guidance", "negative", "seed", "epsilon_scaling")),
        ("output", ("base_model", "lora_format")), ("validation", ("images", "folder", "every", "every_epochs")),
        ("log", ("every",)),
    ):  # fmt: skip
        table = getattr(config, section)
        for name in names:
            value = getattr(table, name)
            if value != type(table).model_fields[name].get_default(call_default_factory=True):
                dropped.append(Dropped(f"{section}.{name} = {shown(value)}", nothing))
    return dropped
