"""Migration of older OneTrainer files to today's names of its settings, as the program itself does it.

Read in its sources at commit 23df383: modules/util/config/TrainConfig.py and ConceptConfig.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from snrlab.core.findings.finding import Finding

NOW = 11  # of a file that the program writes today
CONCEPT_NOW = 2
NETWORKS = ("unet", "text_encoder", "text_encoder_2", "vae")
OTHER_NETWORKS = ("prior", "effnet_encoder", "decoder", "decoder_text_encoder", "decoder_vqgan")
_LISTED = 6  # names that are listed; of more, their number
CENTRED = 3  # the last version with a noising_bias around 0.5
_RENAMED = {
    "save_after": "save_every", "save_after_unit": "save_every_unit", "lora_layers": "layer_filter",
    "lora_layer_preset": "layer_filter_preset", "lora_layers_regex": "layer_filter_regex",
    "enable_async_offloading": "async_offloading",
}  # fmt: skip
OF_A_NETWORK = ("learning_rate", "weight_dtype", "model_name")
OF_ALL_NETWORKS = ("weight_dtype", "gradient_checkpointing", "enable_activation_offloading", "layer_offload_fraction")


def as_today(options: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """(settings under today's names, findings on what was changed).

    A file without a version is one that the program keeps up to date, so its numbers stay as they are; names that it
    no longer has are read as they were meant all the same.

    >>> as_today({"__version": 5, "save_after": 2, "unet": {"__version": 0, "train": True}})[0]
    {'__version': 5, 'save_every': 2, 'unet': {'train': True}}
    """
    settings = {_RENAMED.get(name, name): _without_version(value) for name, value in options.items()}
    settings = _nest_optimizer(settings)
    settings = _nest_networks(settings)
    _read_min_snr(settings)
    centred = _read_bias(settings, options.get("__version"))
    _copy_to_networks(settings)
    renamed = sorted(_names(options) - _names(settings) - {"__version"})
    version = options.get("__version")
    if not renamed and not centred:
        return settings, ()
    age = f" (version {version} of its files; today's is {NOW})" if isinstance(version, int) else ""
    parts = [f"{_listed(renamed)} {'is' if len(renamed) == 1 else 'are'} read under today's names"] if renamed else []
    message = (
        f"the settings come from an older OneTrainer{age} and are read as OneTrainer itself reads them: "
        f"{'; '.join([*parts, *centred])}."
    )
    return settings, (Finding("older_file", "info", message),)


def concept_as_today(concept: Mapping[str, Any]) -> dict[str, Any]:
    """Concept of any version under today's names.

    >>> concept_as_today({"repeats": 3.0, "validation_concept": True})
    {'balancing': 3.0, 'type': 'VALIDATION'}
    """
    renamed = dict(concept)
    if "repeats" in renamed:
        renamed.setdefault("balancing", renamed.pop("repeats"))
    if "validation_concept" in renamed:
        renamed.setdefault("type", "VALIDATION" if renamed.pop("validation_concept") else "STANDARD")
    return renamed


def _names(options: Mapping[str, Any]) -> set[str]:
    return {name for name in options if name != "embeddings"}


def _listed(names: Iterable[str]) -> str:
    all_names = list(names)
    if len(all_names) > _LISTED:
        return f"{len(all_names)} settings"
    return all_names[0] if len(all_names) == 1 else f"{', '.join(all_names[:-1])} and {all_names[-1]}"


def _without_version(value: Any) -> Any:
    return {name: item for name, item in value.items() if name != "__version"} if isinstance(value, dict) else value


def _nest_optimizer(options: dict[str, Any]) -> dict[str, Any]:
    """Move the optimizer's settings into a table of their own."""
    if not isinstance(options.get("optimizer"), str):
        return options
    unmoved = ("optimizer", "optimizer_defaults")
    inner = {
        k.removeprefix("optimizer_"): v for k, v in options.items() if k.startswith("optimizer_") and k not in unmoved
    }
    others = {k: v for k, v in options.items() if k in unmoved or not k.startswith("optimizer_")}
    return others | {"optimizer": {"optimizer": options["optimizer"], **inner}}


def _nest_networks(options: dict[str, Any]) -> dict[str, Any]:
    """Move settings of a network with names such as `train_unet` into a table for each network."""
    separated = dict(options)
    for part in (*NETWORKS, *OTHER_NETWORKS):
        moved = {f"train_{part}": "train", f"train_{part}_epochs": "stop_training_after"}
        moved |= {f"{part}_{name}": name for name in OF_A_NETWORK}
        table = {new: separated.pop(old) for old, new in moved.items() if old in separated}
        if not table:
            continue
        if "stop_training_after" in table:
            table["stop_training_after_unit"] = "EPOCH"
        existing = separated.get(part)
        separated[part] = table | (existing if isinstance(existing, dict) else {})
    return separated


def _read_min_snr(options: dict[str, Any]) -> None:
    """Turn min_snr_gamma into the loss weight function of that name."""
    gamma = options.pop("min_snr_gamma", None)
    if gamma:
        options |= {"loss_weight_fn": "MIN_SNR_GAMMA", "loss_weight_strength": gamma}


def _read_bias(options: dict[str, Any], version: Any) -> list[str]:
    """Turn a noising_weight from before timestep distributions existed into SIGMOID; sentences on the change."""
    if isinstance(version, bool) or not isinstance(version, int) or version > CENTRED:
        return []
    weight, bias = options.get("noising_weight", 0.0), options.get("noising_bias", 0.5)
    if not weight or isinstance(bias, bool) or not isinstance(bias, int | float):
        options |= {name: 0.0 for name in ("noising_weight", "noising_bias") if name in options}
        return []
    options |= {"timestep_distribution": "SIGMOID", "noising_weight": weight, "noising_bias": bias - 0.5}
    return [f"timesteps are drawn by SIGMOID, and noising_bias {bias:g} is {bias - 0.5:g} today"]


def _copy_to_networks(options: dict[str, Any]) -> None:
    """Copy settings that once were common to all networks to each network that the file has."""
    common = {name: options.pop(name) for name in OF_ALL_NETWORKS if name in options}
    if not common:
        return
    parts = dict.fromkeys(["unet", *(part for part in NETWORKS if isinstance(options.get(part), dict))])
    for part in parts:
        table = dict(options.get(part, {}))
        if "weight_dtype" in common and table.get("weight_dtype", "NONE") == "NONE":
            table["weight_dtype"] = common["weight_dtype"]
        if "gradient_checkpointing" in common:
            mode = common["gradient_checkpointing"]
            offloads = mode == "CPU_OFFLOADED"
            table.setdefault("gradient_checkpointing", mode not in (False, "OFF"))
            if offloads:
                table.setdefault("activation_offloading", bool(common.get("enable_activation_offloading", True)))
                table.setdefault("offload_fraction", common.get("layer_offload_fraction", 0.0))
        options[part] = table
