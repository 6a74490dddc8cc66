"""Model, pictures, results and logs in kohya's words, both ways."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from snrlab.config.option_tables.kohya import KOHYA_OPTIONS
from snrlab.config.prompts import check_lines, read_lines
from snrlab.config.run import RunConfig
from snrlab.core.errors import UserError
from snrlab.peers.conversion import Conversion, Dropped, shown
from snrlab.peers.kohya.network import is_sdxl, is_sdxl_run, trains_lora
from snrlab.peers.value_rules import FULL_PRECISION, carry

TRACKERS = {"tensorboard": ["tensorboard"], "wandb": ["wandb"], "all": ["tensorboard", "wandb"]}
MODEL = "model.safetensors"
_PLAIN = ("output_name", "seed", "vae", "max_token_length", "mixed_precision", "gradient_accumulation_steps",
         "gradient_checkpointing", "save_precision", "metadata_title", "metadata_author", "metadata_license",
         "metadata_tags", "metadata_trigger_phrase")  # fmt: skip
OF_LORA = ("network_dropout", "scale_weight_norms", "network_weights")
RHYTHMS = {"output": ("save_every_n_steps", "save_every_n_epochs"),
           "sample": ("sample_every_n_steps", "sample_every_n_epochs"),
           "validation": ("validate_every_n_steps", "validate_every_n_epochs")}  # fmt: skip


def rest(transfer: Conversion, folder: Path) -> None:
    """Everything whose rule is simple, then prompts, rhythms and logs; relative files are looked for in `folder`."""
    import_model(transfer)
    for name in _PLAIN:
        carry(transfer, name)
    for name in OF_LORA:
        if trains_lora(transfer):
            carry(transfer, name)
    if transfer.value("fused_backward_pass"):
        transfer.put("train.fused_backward", True, "fused_backward_pass")
        transfer.put("train.max_grad_norm", 0.0, "max_grad_norm",
                     why="The norm of all gradients is never known with fused_backward.")  # fmt: skip
    else:
        carry(transfer, "max_grad_norm")
    description(transfer)
    import_interval(transfer, "output")
    kept(transfer)
    if import_prompts(transfer, folder):
        import_interval(transfer, "sample")
        carry(transfer, "sample_at_first")
    else:
        for name in (*RHYTHMS["sample"], "sample_at_first"):
            transfer.leave(name, "there are no prompts for pictures")
    transfer.leave("validation_split", "here it is a number of images: set validation.images")
    for name in RHYTHMS["validation"]:
        transfer.leave(name, "no images are held back: set validation.images, and validation.every with it")
    logs(transfer)


def import_model(transfer: Conversion) -> None:
    """[model]: the file or folder; a placeholder where the source names none."""
    path = str(transfer.stated.get("pretrained_model_name_or_path") or "")
    if path.lower().endswith((".ckpt", ".pt")):
        why = "This is a pickle, which is never opened here: take the .safetensors file of the same model."
        transfer.put("model.path", path, "pretrained_model_name_or_path", why=why)
    elif path:
        carry(transfer, "pretrained_model_name_or_path")
    else:
        transfer.put("model.path", MODEL, why="The source does not name the model: name its file or folder here.")
    if is_sdxl(transfer) or transfer.value("v2"):
        transfer.leave("clip_skip", "SD 2 and SDXL always take the second last layer", grade="idle")
    else:
        carry(transfer, "clip_skip")


def description(transfer: Conversion) -> None:
    """output.description: kohya's two places for it."""
    names = [name for name in ("metadata_description", "training_comment") if transfer.has(name)]
    if names:
        transfer.put("output.description", "; ".join(str(transfer.value(name)) for name in names), *names)


def import_interval(transfer: Conversion, section: str) -> None:
    """How often, in steps or epochs; with both, which kohya follows both, steps are taken."""
    steps, epochs = RHYTHMS[section]
    if transfer.value(steps):
        transfer.put(f"{section}.every", int(transfer.value(steps)), steps)
        transfer.leave(epochs, f"{steps} is taken: one rhythm is followed here")
    elif transfer.value(epochs):
        transfer.put(f"{section}.every_epochs", int(transfer.value(epochs)), epochs)


def kept(transfer: Conversion) -> None:
    """output.keep_last: kohya counts steps or epochs back, here results are counted."""
    for every, last in (("save_every_n_steps", "save_last_n_steps"), ("save_every_n_epochs", "save_last_n_epochs")):
        if transfer.value(last) and transfer.value(every):
            count = max(1, int(transfer.value(last)) // int(transfer.value(every)))
            transfer.put("output.keep_last", count, last, why="In results, not steps or epochs.")
            break
    if transfer.has("save_n_epoch_ratio"):
        transfer.leave("save_n_epoch_ratio")


def import_prompts(transfer: Conversion, folder: Path) -> bool:
    """[sample]: prompts, or the file of them where it is there and can be read."""
    if not transfer.has("sample_prompts"):
        return False
    stated = transfer.stated["sample_prompts"]
    text = str(stated)
    lines = [str(line) for line in stated] if isinstance(stated, list) else text.splitlines()
    if isinstance(stated, str) and len(lines) == 1 and re.search(r"\.(txt|toml|json)$", text):
        return _prompts_file(transfer, text, folder)
    lines = [re.sub(r"\s--ss\s+\S+", "", line).strip() for line in lines if line.strip() and line.strip()[0] != "#"]
    try:
        lines = check_lines(lines)
    except UserError as mistake:
        transfer.leave("sample_prompts", str(mistake), code="invalid-value")
        return False
    transfer.put("sample.prompts", lines or None, "sample_prompts")
    return bool(lines)


def _prompts_file(transfer: Conversion, text: str, folder: Path) -> bool:
    beside = folder / text
    file = Path(text) if Path(text).is_file() or not beside.is_file() else beside
    try:
        read_lines(file, field="")
    except UserError as mistake:
        transfer.leave("sample_prompts", str(mistake), code="missing-file")
        return False
    transfer.put("sample.prompts_file", str(file), "sample_prompts")
    return True


def logs(transfer: Conversion) -> None:
    """[log]: trackers; with a logging_dir alone kohya writes TensorBoard's."""
    kind = str(transfer.value("log_with") or ("wandb" if transfer.stated.get("use_wandb") is True else ""))
    if kind in TRACKERS:
        names = ["log_with"] if transfer.has("log_with") else ["use_wandb"]
        transfer.put("log.trackers", TRACKERS[kind], *names)
        carry(transfer, "log_tracker_name")
    elif kind:
        transfer.leave("log_with")
    elif transfer.has("logging_dir"):
        transfer.put(
            "log.trackers", ["tensorboard"], "logging_dir", why="They are in the run folder, not where it says."
        )
    if not transfer.lines or transfer.lines[-1].name != "log.project":
        transfer.leave("log_tracker_name", "there is no tracker that it names anything for", grade="idle")


def rest_back(config: RunConfig) -> tuple[dict[str, Any], list[Dropped]]:
    """What kohya calls it: options for what is neither training, network, data nor recipe."""
    model, output, sample = config.model, config.output, config.sample
    left = _left(config)
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
    if config.log.trackers:
        kohyas = {tuple(ours): theirs for theirs, ours in TRACKERS.items()}
        kind = kohyas.get(tuple(sorted(config.log.trackers)))
        options["log_with"] = kind
        options["log_tracker_name"] = config.log.project if config.log.project != "snrlab" else None
        if kind is None:
            left.append(
                Dropped(f"log.trackers = {shown(config.log.trackers)}", KOHYA_OPTIONS["log_with"].type + " of kohya's")
            )
    return options, left


def _left(config: RunConfig) -> list[Dropped]:
    """Fields that kohya has nothing for, where they are not at their default."""
    found = []
    nothing = "kohya has nothing like it"
    if config.model.path is None:
        found.append(Dropped("model.shipped or model.random", "no file that kohya could load; convert it first"))
    for section, names in (
        ("model", ("convert",)), ("sample", ("steps", "guidance", "negative", "seed", "epsilon_scaling")),
        ("output", ("base_model", "lora_format")), ("validation", ("images", "folder", "every", "every_epochs")),
        ("log", ("every",)),
    ):  # fmt: skip
        table = getattr(config, section)
        for name in names:
            value = getattr(table, name)
            if value != type(table).model_fields[name].get_default(call_default_factory=True):
                found.append(Dropped(f"{section}.{name} = {shown(value)}", nothing))
    return found
