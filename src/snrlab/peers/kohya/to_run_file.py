"""Import of kohya's settings, from any kind of source: their options as the lines of a run file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snrlab.config.option_tables.kohya import KOHYA_OPTIONS, SECRETS
from snrlab.peers.conversion import Conversion
from snrlab.peers.kohya import dataset_options as kohya_data
from snrlab.peers.kohya.model_options import import_model_output
from snrlab.peers.kohya.network_options import import_method, import_network, refuse_other_training, trains_lora
from snrlab.peers.kohya.optimizer_options import import_lr_schedule, import_optimizer
from snrlab.peers.kohya.training_options import import_length, import_loss, import_parts_and_rates
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
    interpretation: Interpretation,
    folder: Path,
    dataset: Mapping[str, Any] | None = None,
    dataset_path: Path | None = None,
    *,
    dataset_folder: Path | None = None,
    as_is: bool = False,
) -> Conversion:
    """Convert kohya's settings into the lines of a run file, with the options that were dropped.

    Args:
        interpretation: the settings and the recipes that they stand for.
        folder: folder of the source; relative paths are looked up in it.
        dataset: content of a dataset TOML; None where there is none.
        dataset_path: path of that TOML where it can be used unchanged.
        dataset_folder: folder of that TOML.
        as_is: use kohya's own formulas instead of the right ones.

    Raises:
        UserError: the settings are for a model or a kind of training that snrlab does not have, or a value is invalid.
    """
    settings = interpretation.settings
    conversion = Conversion(
        settings.options,
        KOHYA_OPTIONS,
        "kohya",
        extras=settings.extras,
        secrets=SECRETS,
        elsewhere=("dataset", "network"),
    )
    refuse_other_training(conversion)
    if dataset is None and settings.subsets:
        dataset = {"datasets": [{"subsets": list(settings.subsets)}]}
    _drop_gui_extras(conversion, settings.extras)
    import_model_output(conversion, folder)
    kohya_data.data(conversion, dataset, dataset_path, dataset_folder)
    recipe(conversion, interpretation, _recipe_options(conversion), as_is=as_is)
    import_method(conversion)
    import_parts_and_rates(conversion, as_is=as_is)
    import_length(conversion)
    import_optimizer(conversion)
    import_lr_schedule(conversion)
    import_loss(conversion)
    if trains_lora(conversion):
        import_network(conversion)
    fit_to_optimizer(conversion)
    conversion.drop_unused("ignores it silently")
    return conversion


def _drop_gui_extras(conversion: Conversion, extras: Mapping[str, Any]) -> None:
    """Drop what a GUI's file keeps of other kinds of LoRA and of its own preparation of images."""
    conversion.mark_used("base_model_version")
    for name in extras:
        if name in KOHYA_OPTIONS and KOHYA_OPTIONS[name].part == "network":
            conversion.drop(name, "kohya_ss does not pass it on for this type of LoRA", severity="harmless")
    if "batch_size" in extras:
        conversion.drop("batch_size", "only for kohya_ss' own preparation of latents", severity="harmless")
    if conversion.options.get("multi_gpu") is True and int(conversion.value("num_processes") or 1) > 1:
        reason = "train_batch_size counts for each process, train.batch_size for all together: multiply it, and start "
        conversion.drop("num_processes", f"{reason}snrlab train RUN --processes {conversion.value('num_processes')}")


def _recipe_options(conversion: Conversion) -> Mapping[str, tuple[str, ...]]:
    """Options by field of the recipe, without those of a noise offset that is off (these are dropped)."""
    if conversion.value("noise_offset"):
        return _NAMES
    for name in OF_OFFSET:
        conversion.drop(name, "part of noise_offset, which is off", severity="harmless")
    return {**_NAMES, "noise": OF_MULTIRES}
