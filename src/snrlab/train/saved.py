"""Opening what has been trained: a run folder, or a model with a LoRA, as a pipeline."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from diffusers import StableDiffusionPipeline
from safetensors import SafetensorError, safe_open

from snrlab.config import RunConfig
from snrlab.config.recipe import build_recipe
from snrlab.core.errors import UserError
from snrlab.core.schedule import SCHEDULES, NoiseSchedule
from snrlab.models import components
from snrlab.models.components import Components
from snrlab.models.source import load_base
from snrlab.train.run_folder import RunFolder
from snrlab.train.sampling import pipeline


@dataclass(frozen=True, eq=False)
class Saved:
    """A model ready to sample.

    Attributes:
        pipe: over the networks of `components`, with the schedule and prediction type that were trained.
        config: of the run it came from, or None for a bare model.
        has_adapter: whether a LoRA is on it.
    """

    pipe: StableDiffusionPipeline
    components: Components
    schedule: NoiseSchedule
    prediction_type: str
    label: str
    config: RunConfig | None
    has_adapter: bool

    @property
    def prompts(self) -> tuple[str, ...]:
        """The run's prompts."""
        return tuple(self.config.sample.prompts) if self.config else ()

    @property
    def resolution(self) -> int:
        """The run's resolution, or the model's own."""
        own = self.components.unet.config.sample_size * self.components.latent_factor
        return self.config.data.resolution if self.config else own


def open_source(source: Path, lora: Path | None, strength: float) -> Saved:
    """Open a run folder or a diffusers folder, with a LoRA at a strength.

    Raises:
        UserError: nothing usable there, an unfinished run, or a LoRA that does not fit.
    """
    folder = RunFolder(source)
    config = folder.read_config() if folder.started else None
    if config is None:
        model = components.load(source)
        schedule = SCHEDULES.bind("scheduler_config", config=json.dumps(model.scheduler_config))()
        prediction_type, label = model.prediction_type, model.label
    else:
        result = folder.result(config)
        if not result.exists():
            raise UserError(f"{source} holds an unfinished run; go on with snrlab train ... --resume.")
        if config.train.method == "full":
            model = components.load(result)
        else:
            model, lora = load_base(config.model, config.seed), lora or result
        recipe = build_recipe(config.recipe, schedule=SCHEDULES.bind("sd"), prediction_type="epsilon")
        schedule, prediction_type, label = recipe.noise_schedule(), recipe.prediction_type, config.name
    model.freeze()
    pipe = pipeline(model, schedule, prediction_type)
    if lora is not None:
        _put_lora(pipe, lora, strength)
    return Saved(pipe, model, schedule, prediction_type, label, config, lora is not None)


def _put_lora(pipe: StableDiffusionPipeline, path: Path, strength: float) -> None:
    if path.suffix in (".ckpt", ".pt", ".pth", ".bin"):
        raise UserError(f"--lora: {path.name} is a pickle, which can run code when opened; use a .safetensors file.")
    try:
        with safe_open(str(path), framework="pt") as file:
            keys = list(file.keys())
    except FileNotFoundError:
        raise UserError(f"--lora: there is no file {path}.") from None
    except (SafetensorError, OSError) as reason:
        raise UserError(f"--lora: {path} is not a readable safetensors file ({reason}).") from None
    if not any("lora" in key for key in keys):
        raise UserError(
            f"--lora: {path.name} holds no LoRA weights (its first tensor is {keys[0] if keys else 'none'})."
        )
    try:
        pipe.load_lora_weights(str(path.absolute()), adapter_name="lora")
        pipe.set_adapters(["lora"], [strength])
    except (ValueError, RuntimeError, KeyError) as reason:
        raise UserError(f"--lora: {path.name} does not fit this model: {str(reason).splitlines()[0]}") from None
