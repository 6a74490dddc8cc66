"""Opening a run folder, or a model with a LoRA, as a pipeline."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from snrlab.config import RunConfig
from snrlab.config.sections.model import ShippedModel
from snrlab.core.errors import UserError, first_line
from snrlab.core.schedule import NoiseSchedule
from snrlab.model_files.resolve import model_schedule, resolve
from snrlab.models.arithmetic import with_precision
from snrlab.models.components import Components
from snrlab.models.load_for_run import as_configured, load_for_run
from snrlab.models.lora.lora_file import is_lora, load_lora, peft_tensors
from snrlab.models.storage.source import DTYPES, load_model, shipped
from snrlab.pictures.sampling import Pipeline, pipeline
from snrlab.runs.folder import RunFolder, resume_line

FINAL = "final"


@dataclass(frozen=True, eq=False)
class OpenedModel:
    """A model ready to sample.

    Attributes:
        pipe: pipeline over the networks of `components`, with the caption encoding, schedule and prediction type of
            training.
        config: config of the run it came from, or None for a bare model.
        adapters: names of the LoRAs that can be applied to it: `final`, or `step N` for one saved during the run.
    """

    pipe: Pipeline
    components: Components
    schedule: NoiseSchedule
    prediction_type: str
    label: str
    config: RunConfig | None
    adapters: tuple[str, ...]

    @property
    def prompts(self) -> tuple[str, ...]:
        """The run's prompts."""
        return tuple(self.config.sample.prompts) if self.config else ()

    @property
    def resolution(self) -> int:
        """The run's resolution, or the model's own."""
        model_side = self.components.unet.config.sample_size * self.components.latent_factor
        return self.config.data.side if self.config else model_side

    def use(self, adapter: str | None, strength: float = 1.0) -> None:
        """Apply one of the adapters at a strength; None disables all."""
        if not self.adapters:
            return
        if adapter is None:
            self.pipe.diffusers.disable_lora()
        else:
            self.pipe.diffusers.enable_lora()
            self.pipe.diffusers.set_adapters([_peft_name(adapter)], [strength])


def open_model(source: Path, lora: Path | None = None, steps: Sequence[int] = ()) -> OpenedModel:
    """Open a run folder, a diffusers folder or a model that ships, with its LoRA or LoRAs on top.

    Args:
        source: the folder, or the name of a model that ships.
        lora: a LoRA file to use instead of the run's.
        steps: use the run's LoRAs of these steps instead of the final one.

    Raises:
        UserError: nothing usable at the source, an unfinished run, or a LoRA that does not fit.
    """
    folder = RunFolder(source)
    config = folder.read_config() if folder.started else None
    if steps and (config is None or lora is not None or config.train.method != "lora"):
        raise UserError("--step chooses among the LoRAs of a run folder; this source has none.", code="unused-option")
    if config is None:
        shipped_name = next(
            (name for name in get_args(ShippedModel) if str(source) == name and not source.exists()), None
        )
        model = shipped(shipped_name) if shipped_name else _load_named(source, lora)
        schedule = model_schedule(model.scheduler_config)
        prediction_type, label = model.known_prediction_type(), model.label
        files = {FINAL: lora} if lora else {}
    else:
        model, files = _open_run(folder, config, lora, steps)
        recipe = resolve(config.recipe, model.facts)
        schedule, prediction_type, label = recipe.noise_schedule(), recipe.prediction_type, config.name
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu")).freeze()
    pipe = pipeline(model, schedule, prediction_type)
    for name, file in files.items():
        _attach_lora(pipe, file, _peft_name(name))
    saved = OpenedModel(pipe, model, schedule, prediction_type, label, config, tuple(files))
    if files:
        saved.use(next(iter(files)))
    return saved


def _load_named(source: Path, lora: Path | None) -> Components:
    """Load the model that the user named (UserError with a suggestion where there is none)."""
    if lora is None and source.is_file() and is_lora(source):
        raise UserError(
            f"SOURCE: {source.name} is a LoRA, which goes on top of a model. Give the model and --lora {source}, or "
            "the run's folder.",
            code="wrong-file",
        )
    return load_model(source, field="SOURCE")


def _open_run(
    folder: RunFolder, config: RunConfig, lora: Path | None, steps: Sequence[int]
) -> tuple[Components, dict[str, Path]]:
    """The model of a finished run and the LoRA files to apply to it, by name."""
    result = folder.result(config)
    if not result.exists():
        raise UserError(
            f"{folder.path} holds an unfinished run. To go on with it:\n  {resume_line(folder)}", code="run-unfinished"
        )
    if config.train.method == "full":
        dtype = DTYPES[config.model.precision]
        model = as_configured(load_model(result, dtype), config)
        return with_precision(model, dtype, frozen=True), {FINAL: lora} if lora else {}
    files: dict[str, Path] = {}
    for step in steps:
        file = result if step == config.train.steps else folder.intermediate_result(config, step)
        if not file.exists():
            available = ", ".join(str(s) for s in [*folder.intermediate_steps(config), config.train.steps])
            raise UserError(
                f"--step: there is no LoRA of step {step} in {folder.path}. Allowed: {available}.", code="no-checkpoint"
            )
        files[f"step {step}"] = file
    return load_for_run(config), files or {FINAL: lora or result}


def _peft_name(adapter: str) -> str:
    return adapter.replace(" ", "_")


def _attach_lora(pipe: Pipeline, path: Path, name: str) -> None:
    # diffusers drops a DoRA's magnitudes from kohya's layout, so it gets peft's
    tensors = peft_tensors(load_lora(path, pipe.diffusers.unet.config, field="--lora"), torch.float32)
    try:
        with warnings.catch_warnings():
            # several adapters on one model are intended
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            pipe.diffusers.load_lora_weights(tensors, adapter_name=name)
    except (ValueError, RuntimeError, KeyError) as reason:
        raise UserError(
            f"--lora: {path.name} does not fit this model: {first_line(reason)}", code="does-not-fit-model"
        ) from None
