"""Older files of OneTrainer under the names that its settings have today, as the program itself reads them.

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
    """(the settings under today's names, what was done to them).

    A file without a version is one that the program keeps up to date, so its numbers stay as they are; names that it
    no longer has are read as they were meant all the same.

    >>> as_today({"__version": 5, "save_after": 2, "unet": {"__version": 0, "train": True}})[0]
    {'__version': 5, 'save_every': 2, 'unet': {'train': True}}
    """
    found = {_RENAMED.get(name, name): _without_version(value) for name, value in options.items()}
    found = _optimizer_apart(found)
    found = _networks_apart(found)
    _weight(found)
    centred = _bias(found, options.get("__version"))
    _everywhere(found)
    named = sorted(_names(options) - _names(found) - {"__version"})
    version = options.get("__version")
    if not named and not centred:
        return found, ()
    age = f" (version {version} of its files; today's is {NOW})" if isinstance(version, int) else ""
    told = [f"{_listed(named)} {'is' if len(named) == 1 else 'are'} read under today's names"] if named else []
    message = f"the settings are of an older OneTrainer{age}: {'; '.join([*told, *centred])}, as the program does."
    return found, (Finding("older_file", "info", message),)


def concept_as_today(concept: Mapping[str, Any]) -> dict[str, Any]:
    """A concept of any version.

    >>> concept_as_today({"repeats": 3.0, "validation_concept": True})
    {'balancing': 3.0, 'type': 'VALIDATION'}
    """
    found = dict(concept)
    if "repeats" in found:
        found.setdefault("balancing", found.pop("repeats"))
    if "validation_concept" in found:
        found.setdefault("type", "VALIDATION" if found.pop("validation_concept") else "STANDARD")
    return found


def _names(options: Mapping[str, Any]) -> set[str]:
    return {name for name in options if name != "embeddings"}


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    if len(every) > _LISTED:
        return f"{len(every)} settings"
    return every[0] if len(every) == 1 else f"{', '.join(every[:-1])} and {every[-1]}"


def _without_version(value: Any) -> Any:
    return {name: item for name, item in value.items() if name != "__version"} if isinstance(value, dict) else value


def _optimizer_apart(options: dict[str, Any]) -> dict[str, Any]:
    """The optimizer's settings as a table of their own."""
    if not isinstance(options.get("optimizer"), str):
        return options
    kept = ("optimizer", "optimizer_defaults")
    inner = {
        k.removeprefix("optimizer_"): v for k, v in options.items() if k.startswith("optimizer_") and k not in kept
    }
    rest = {k: v for k, v in options.items() if k in kept or not k.startswith("optimizer_")}
    return rest | {"optimizer": {"optimizer": options["optimizer"], **inner}}


def _networks_apart(options: dict[str, Any]) -> dict[str, Any]:
    """What the file says of a network in names such as `train_unet`, in a table for each."""
    found = dict(options)
    for part in (*NETWORKS, *OTHER_NETWORKS):
        moved = {f"train_{part}": "train", f"train_{part}_epochs": "stop_training_after"}
        moved |= {f"{part}_{name}": name for name in OF_A_NETWORK}
        table = {new: found.pop(old) for old, new in moved.items() if old in found}
        if not table:
            continue
        if "stop_training_after" in table:
            table["stop_training_after_unit"] = "EPOCH"
        own = found.get(part)
        found[part] = table | (own if isinstance(own, dict) else {})
    return found


def _weight(options: dict[str, Any]) -> None:
    """min_snr_gamma as one of the weights to choose from."""
    gamma = options.pop("min_snr_gamma", None)
    if gamma:
        options |= {"loss_weight_fn": "MIN_SNR_GAMMA", "loss_weight_strength": gamma}


def _bias(options: dict[str, Any], version: Any) -> list[str]:
    """The weight that shapes the draw of timesteps, which once had no distribution to choose; what was done."""
    if isinstance(version, bool) or not isinstance(version, int) or version > CENTRED:
        return []
    weight, bias = options.get("noising_weight", 0.0), options.get("noising_bias", 0.5)
    if not weight or isinstance(bias, bool) or not isinstance(bias, int | float):
        options |= {name: 0.0 for name in ("noising_weight", "noising_bias") if name in options}
        return []
    options |= {"timestep_distribution": "SIGMOID", "noising_weight": weight, "noising_bias": bias - 0.5}
    return [f"timesteps are drawn by SIGMOID, and noising_bias {bias:g} is {bias - 0.5:g} today"]


def _everywhere(options: dict[str, Any]) -> None:
    """What was said once for all networks, for each that the file has."""
    stated = {name: options.pop(name) for name in OF_ALL_NETWORKS if name in options}
    if not stated:
        return
    parts = dict.fromkeys(["unet", *(part for part in NETWORKS if isinstance(options.get(part), dict))])
    for part in parts:
        table = dict(options.get(part, {}))
        if "weight_dtype" in stated and table.get("weight_dtype", "NONE") == "NONE":
            table["weight_dtype"] = stated["weight_dtype"]
        if "gradient_checkpointing" in stated:
            mode = stated["gradient_checkpointing"]
            offloads = mode == "CPU_OFFLOADED"
            table.setdefault("gradient_checkpointing", mode not in (False, "OFF"))
            if offloads:
                table.setdefault("activation_offloading", bool(stated.get("enable_activation_offloading", True)))
                table.setdefault("offload_fraction", stated.get("layer_offload_fraction", 0.0))
        options[part] = table
