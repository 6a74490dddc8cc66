"""kohya's settings, whatever states them, as the lines of a run file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snrlab.config.option_tables.kohya import KOHYA_OPTIONS, SECRETS
from snrlab.peers.conversion import Conversion
from snrlab.peers.kohya import (
    data as kohya_data,
)
from snrlab.peers.kohya import model_output
from snrlab.peers.kohya import (
    network as kohya_network,
)
from snrlab.peers.kohya import (
    optimizer as kohya_optimizer,
)
from snrlab.peers.kohya import optimizer as lr_schedule
from snrlab.peers.kohya import (
    training as kohya_training,
)
from snrlab.peers.optimizer_constraints import fit_to_optimizer
from snrlab.peers.recipe_import import recipe
from snrlab.peers.settings import Interpretation

OF_OFFSET = ("noise_offset", "noise_offset_random_strength", "adaptive_noise_scale")
OF_MULTIRES = ("multires_noise_iterations", "multires_noise_discount")
_NAMES: Mapping[str, tuple[str, ...]] = {
    "prediction_type": ("v_parameterization",),
    "zero_terminal_snr": ("zero_terminal_snr",),
    "weighting": ("min_snr_gamma", "debiased_estimation_loss", "scale_v_pred_loss_like_noise_pred", "v_pred_like_loss"),
    "density": ("min_timestep", "max_timestep"),
    "perturbation": ("ip_noise_gamma", "ip_noise_gamma_random_strength"),
    "noise": (*OF_OFFSET, *OF_MULTIRES),
}  # fmt: skip


def from_kohya(
    understood: Interpretation,
    folder: Path,
    dataset: Mapping[str, Any] | None = None,
    dataset_path: Path | None = None,
    *,
    as_is: bool = False,
) -> Conversion:
    """The lines of a run file, and what is left.

    Args:
        understood: the settings and the recipes in them.
        folder: where the source lies.
        dataset: what a dataset TOML says.
        dataset_path: of that TOML, where it can be used as it is.
        as_is: with kohya's own formulas.

    Raises:
        UserError: the settings are for a model or a kind of training that is not here, or a value is none.
    """
    asked = understood.asked
    transfer = Conversion(
        asked.options, KOHYA_OPTIONS, "kohya", beside=asked.beside, secrets=SECRETS, elsewhere=("dataset", "network")
    )
    kohya_network.refuse_other_training(transfer)
    if dataset is None and asked.subsets:
        dataset = {"datasets": [{"subsets": list(asked.subsets)}]}
    _beside(transfer, asked.beside)
    model_output.rest(transfer, folder)
    kohya_data.data(transfer, dataset, dataset_path)
    recipe(transfer, understood, _noise(transfer), as_is=as_is)
    kohya_network.import_method(transfer)
    kohya_training.parts_and_rates(transfer, as_is=as_is)
    for part in (
        kohya_training.length,
        kohya_optimizer.import_optimizer,
        lr_schedule.import_lr_schedule,
        kohya_training.loss,
    ):
        part(transfer)
    if kohya_network.trains_lora(transfer):
        kohya_network.import_network(transfer)
    fit_to_optimizer(transfer)
    transfer.leave_the_rest("reads over it without a word")
    return transfer


def _beside(transfer: Conversion, beside: Mapping[str, Any]) -> None:
    """What a window keeps of other kinds of LoRA and of its own preparation of images."""
    transfer.take("base_model_version")
    for name in beside:
        if name in KOHYA_OPTIONS and KOHYA_OPTIONS[name].part == "network":
            transfer.leave(name, "kohya_ss does not pass it on for this type of LoRA", grade="idle")
    if "batch_size" in beside:
        transfer.leave("batch_size", "of kohya_ss' own preparation of latents", grade="idle")
    if transfer.stated.get("multi_gpu") is True and int(transfer.value("num_processes") or 1) > 1:
        why = "train_batch_size is of each of them there; train.batch_size is of all together: multiply it, and start "
        transfer.leave("num_processes", f"{why}snrlab train RUN --processes {transfer.value('num_processes')}")


def _noise(transfer: Conversion) -> Mapping[str, tuple[str, ...]]:
    """The options of the recipe's parts, without those of a noise offset that is off."""
    if transfer.value("noise_offset"):
        return _NAMES
    for name in OF_OFFSET:
        transfer.leave(name, "of noise_offset, which is off", grade="idle")
    return {**_NAMES, "noise": OF_MULTIRES}
