"""Compatibility of a file with other programs: which load it, and with which options.

Taken from their sources: diffusers 0.42, kohya sd-scripts at 48d368f, ComfyUI 0.3.77 and Forge, A1111 1.10; see
docs/decisions/0005-lora-files.md.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from snrlab.model_files.families import Family
from snrlab.model_files.lora_names import OTHER_ADAPTERS

if TYPE_CHECKING:
    from snrlab.model_files.inspection.lora import Adapters

Answer = Literal["yes", "partly", "no"]
LYCORIS_KINDS = frozenset(OTHER_ADAPTERS.values())


@dataclass(frozen=True)
class Program:
    """Whether a program loads a file, with the reason or the options it needs."""

    name: str
    answer: Answer
    reason: str = ""


def for_lora(adapters: Adapters, family: Family | None) -> tuple[Program, ...]:
    """Compatibility of a LoRA file or another adapter file."""
    if family is None and "text_encoder" not in adapters.parts:
        return ()
    needs_lycoris = bool(LYCORIS_KINDS & adapters.kinds)
    return (
        _diffusers(adapters, needs_lycoris),
        _kohya(adapters, needs_lycoris),
        Program("ComfyUI, Forge", "partly", "they divide a DoRA's rows by those of the base alone: near for small ones")
        if adapters.dora
        else Program("ComfyUI, Forge", "yes"),
        _a1111(adapters),
    )


def _diffusers(adapters: Adapters, needs_lycoris: bool) -> Program:
    if needs_lycoris:
        return Program("diffusers", "no", f"it does not read {adapters.kind}")
    if adapters.dora and adapters.layout == "kohya":
        return Program("diffusers", "partly", "it drops dora_scale from this layout; convert the file to peft's")
    if len(adapters.attention_alphas) > 1:
        return Program("diffusers", "partly", "it takes one alpha for all attention layers, and these have several")
    return Program("diffusers", "yes")


def _kohya(adapters: Adapters, needs_lycoris: bool) -> Program:
    name = "kohya sd-scripts"
    if adapters.layout != "kohya":
        return Program(name, "no", "its names are not kohya's: snrlab convert FILE makes a file that has them")
    if needs_lycoris or adapters.dora:
        return Program(name, "yes", "with network_module = lycoris.kohya")
    return Program(name, "yes")


def _a1111(adapters: Adapters) -> Program:
    if adapters.dora:
        return Program("A1111", "no", "it takes dora_scale for lengths of columns")
    if adapters.layout != "kohya":
        text_encoders = [part for part in adapters.parts if part.startswith("text_encoder")]
        reason = "it does not know these names of text encoders' layers: snrlab convert FILE gives it the ones it knows"
        return Program("A1111", "partly", reason) if text_encoders else Program("A1111", "yes")
    return Program("A1111", "yes")


def for_checkpoint(
    family: Family, prediction_type: str | None, zero_terminal: bool | None, keys: Set[str]
) -> tuple[Program, ...]:
    """Compatibility of a checkpoint file; `keys` holds the keys `v_pred` and `ztsnr` as far as the file has them."""
    is_v = prediction_type == "v_prediction"
    with_options: Answer = "partly" if is_v else "yes"
    zero = ", zero_terminal_snr" if zero_terminal else ""
    unmarked = (
        "" if not is_v or "v_pred" in keys or family == "sd2" else "it has no key v_pred, so they take it for epsilon"
    )
    rescale = " and rescale_betas_zero_snr=True" if zero_terminal else ""
    return (
        Program(
            "diffusers", with_options, f'from_single_file; tell its scheduler prediction_type="v_prediction"{rescale}'
        )
        if is_v
        else Program("diffusers", "yes", "from_single_file"),
        Program("kohya sd-scripts", with_options, f"with v_parameterization{zero}" if is_v else ""),
        Program("ComfyUI, Forge", "partly" if unmarked else "yes", unmarked),
        Program("A1111", "partly" if unmarked else "yes", unmarked),
    )


def for_folder(is_v: bool) -> tuple[Program, ...]:
    """Compatibility of a diffusers folder; `is_v` tells whether its model predicts v."""
    reason = "as one file: snrlab convert FOLDER -o model.safetensors"
    return (
        Program("diffusers", "yes"),
        Program("kohya sd-scripts", "partly" if is_v else "yes", "with v_parameterization" if is_v else ""),
        Program("ComfyUI, Forge", "no", reason),
        Program("A1111", "no", reason),
    )
