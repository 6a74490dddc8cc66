"""Which programs load a file, and what they need to be told.

Read in their sources: diffusers 0.42, kohya sd-scripts at 48d368f, ComfyUI 0.3.77 and Forge, A1111 1.10; see
docs/decisions/0005-lora-files.md.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from snrlab.model_files.families import Family
from snrlab.model_files.lora_names import OTHERS

if TYPE_CHECKING:
    from snrlab.model_files.inspection.lora import Adapters

Answer = Literal["yes", "partly", "no"]
KNOWN_TO_LYCORIS = frozenset(OTHERS.values())


@dataclass(frozen=True)
class Program:
    """A program's answer to a file, and why, where it is not a plain yes."""

    name: str
    answer: Answer
    why: str = ""


def for_lora(found: Adapters, family: Family | None) -> tuple[Program, ...]:
    """The programs for an adapter file."""
    if family is None and "text_encoder" not in found.parts:
        return ()
    other = bool(KNOWN_TO_LYCORIS & found.kinds)
    return (
        _diffusers(found, other),
        _kohya(found, other),
        Program("ComfyUI, Forge", "partly", "they divide a DoRA's rows by those of the base alone: near for small ones")
        if found.dora
        else Program("ComfyUI, Forge", "yes"),
        _a1111(found),
    )


def _diffusers(found: Adapters, other: bool) -> Program:
    if other:
        return Program("diffusers", "no", f"it does not read {found.kind}")
    if found.dora and found.layout == "kohya":
        return Program("diffusers", "partly", "it drops dora_scale from this layout; convert the file to peft's")
    if len(found.attention_alphas) > 1:
        return Program("diffusers", "partly", "it takes one alpha for all attention layers, and these have several")
    return Program("diffusers", "yes")


def _kohya(found: Adapters, other: bool) -> Program:
    name = "kohya sd-scripts"
    if found.layout != "kohya":
        return Program(name, "no", "its names are not kohya's: snrlab convert FILE makes a file that has them")
    if other or found.dora:
        return Program(name, "yes", "with network_module = lycoris.kohya")
    return Program(name, "yes")


def _a1111(found: Adapters) -> Program:
    if found.dora:
        return Program("A1111", "no", "it takes dora_scale for lengths of columns")
    if found.layout != "kohya":
        text = [part for part in found.parts if part.startswith("text_encoder")]
        why = "it does not know these names of text encoders' layers: snrlab convert FILE gives it the ones it knows"
        return Program("A1111", "partly", why) if text else Program("A1111", "yes")
    return Program("A1111", "yes")


def for_checkpoint(
    family: Family, prediction_type: str | None, zero_terminal: bool | None, keys: Set[str]
) -> tuple[Program, ...]:
    """The programs for a checkpoint in one file; `keys` are those of `v_pred` and `ztsnr` that it has."""
    v = prediction_type == "v_prediction"
    told: Answer = "partly" if v else "yes"
    zero = ", zero_terminal_snr" if zero_terminal else ""
    marked = "" if not v or "v_pred" in keys or family == "sd2" else "it has no key v_pred, so they take it for epsilon"
    rescale = " and rescale_betas_zero_snr=True" if zero_terminal else ""
    return (
        Program("diffusers", told, f'from_single_file; tell its scheduler prediction_type="v_prediction"{rescale}')
        if v
        else Program("diffusers", "yes", "from_single_file"),
        Program("kohya sd-scripts", told, f"with v_parameterization{zero}" if v else ""),
        Program("ComfyUI, Forge", "partly" if marked else "yes", marked),
        Program("A1111", "partly" if marked else "yes", marked),
    )


def for_folder(v: bool) -> tuple[Program, ...]:
    """The programs for a diffusers folder, whose model predicts v or not."""
    one = "as one file: snrlab convert FOLDER -o model.safetensors"
    return (
        Program("diffusers", "yes"),
        Program("kohya sd-scripts", "partly" if v else "yes", "with v_parameterization" if v else ""),
        Program("ComfyUI, Forge", "no", one),
        Program("A1111", "no", one),
    )
