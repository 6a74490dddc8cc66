"""Recognition of settings for model families that snrlab does not support, such as Flux."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from snrlab.core.errors import UserError

SUPPORTED_MODELS = "only Stable Diffusion 1.5, 2 and SDXL are explained and trained here"
CHECKBOXES = {"flux1_checkbox": "Flux", "sd3_checkbox": "Stable Diffusion 3", "hunyuan_image_checkbox": "HunyuanImage",
              "anima_checkbox": "Anima", "lumina_checkbox": "Lumina"}  # fmt: skip
# options whose value begins with a word for the model
NAMED = {"LoRA_type": "", "network_module": "networks.", "base_model_version": "", "model_train_type": "",
         "train_type": "", "model_type": ""}  # fmt: skip
_WORDS = {"flux": "Flux", "lora_flux": "Flux", "oft_flux": "Flux", "chroma": "Chroma", "sd3": "Stable Diffusion 3",
         "lora_sd3": "Stable Diffusion 3", "hunyuan": "HunyuanImage", "lora_hunyuan": "HunyuanImage", "anima": "Anima",
         "lora_anima": "Anima", "lumina": "Lumina", "lora_lumina": "Lumina", "lllite": "ControlNet-LLLite",
         "control_net_lllite": "ControlNet-LLLite"}  # fmt: skip
NEEDED = {"t5xxl": "Flux or Stable Diffusion 3", "gemma2": "Lumina", "qwen3": "Anima", "byt5": "HunyuanImage",
          "cond_emb_dim": "ControlNet-LLLite"}  # fmt: skip


def refuse_other_models(options: Mapping[str, Any], extras: Mapping[str, Any]) -> None:
    """Refuse settings for a model family that is not supported, and name it.

    Raises:
        UserError: the settings are for such a model.
    """
    values = {**extras, **options}
    for name, model in _model_marks(values):
        value = "true" if values[name] is True else values[name]
        raise UserError(f"{name} is {value}, so this is for {model}: {SUPPORTED_MODELS}.", code="not-supported")


def _model_marks(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from ((name, model) for name, model in CHECKBOXES.items() if values.get(name) is True)
    window = bool(set(CHECKBOXES) & set(values))  # which keeps the fields of every model
    for name, before in NAMED.items():
        if window and name == "model_type":
            continue
        value = str(values.get(name) or "").lower()
        word = value.removeprefix(before)
        yield from ((name, model) for start, model in _WORDS.items() if value and word.startswith(start))
    if not window:
        yield from ((name, model) for name, model in NEEDED.items() if values.get(name))
