"""Converting a model between layouts: a single file to a diffusers folder, or back."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from snrlab.core.errors import UserError
from snrlab.files.writing import folder_atomically, temporary_path
from snrlab.models.components import Components
from snrlab.models.storage.save_folder import save_folder
from snrlab.models.storage.save_single_file import save_single_file
from snrlab.models.storage.source import load_model
from snrlab.progress import timed

logger = logging.getLogger(__name__)


def convert_model(
    source: Path,
    target: Path,
    dtype: torch.dtype | None = None,
    *,
    vae: Path | None = None,
    prediction_type: str | None = None,
    zero_terminal_snr: bool | None = None,
) -> Components:
    """Write a model in the layout that the target's name asks for; returns the written model.

    Args:
        source: a single file or a diffusers folder.
        target: a new .safetensors file, or a new folder.
        dtype: number format of the weights; None keeps each tensor's own, so that all stay bit-identical.
        vae: file or folder of an autoencoder that replaces the model's.
        prediction_type: what the model predicts, where it does not state it.
        zero_terminal_snr: whether its schedule ends at SNR 0, where it does not state it.

    Raises:
        UserError: the source does not load, contradicts an argument, or does not fit the target's layout.
    """
    model = _with_declared(load_model(source, None, None, vae, "SOURCE"), prediction_type, zero_terminal_snr)
    save_model(model, target, dtype)
    return model


def save_model(
    model: Components, target: Path, dtype: torch.dtype | None, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a model atomically: a single file where the target's name ends in .safetensors, else a folder.

    Args:
        model: the model to write.
        target: a path that does not exist yet.
        dtype: number format of the weights; None keeps each tensor's own.
        metadata: entries for the header of a single file.

    Raises:
        UserError: the layout cannot hold this model, or it cannot be written.
    """
    if target.suffix.lower() == ".safetensors":
        with timed(logger, f"wrote {target}"):
            save_single_file(model, target, dtype, metadata)
        return
    if (leftover := temporary_path(target)).exists():  # outside a run folder, so it may be the user's own
        raise UserError(
            f"{leftover} exists, left by an interrupted command or made by you. Remove it, or choose another name.",
            code="already-exists",
        )
    with timed(logger, f"wrote {target}"), folder_atomically(target) as folder:
        save_folder(model, folder, dtype)


def _with_declared(model: Components, prediction_type: str | None, zero_terminal_snr: bool | None) -> Components:
    """The model with the declared properties that it does not state (UserError where it contradicts them)."""
    scheduler, source = dict(model.scheduler_config), model.prediction_source
    if prediction_type not in (None, model.prediction_type):
        if "prediction_type" not in model.assumed:
            raise UserError(
                f"--prediction is {prediction_type}, but {model.label} says it predicts {model.prediction_type} "
                f"({model.prediction_source}). Leave it out; only training changes what a model predicts.",
                code="contradicts-model",
            )
        scheduler["prediction_type"], source = prediction_type, "as stated"
    if zero_terminal_snr is not None and zero_terminal_snr != bool(scheduler.get("rescale_betas_zero_snr", False)):
        if "zero_terminal_snr" not in model.assumed:
            raise UserError(
                f"--zero-terminal-snr: {model.label} states another schedule; only training changes that.",
                code="contradicts-model",
            )
        scheduler |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    if scheduler.get("prediction_type", "epsilon") is None:
        raise UserError(
            f"--prediction is not given, and {model.label} does not say what it predicts ({model.prediction_source}). "
            "Give --prediction v_prediction or --prediction epsilon.",
            code="unknown-prediction-type",
        )
    return replace(model, scheduler_config=scheduler, prediction_source=source)
