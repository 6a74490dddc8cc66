"""The parts of a Stable Diffusion 1.5 style model, loaded from a diffusers folder without a hub."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from snrlab.core.errors import UserError
from snrlab.models.pixels import PixelIdentity

Family = Literal["sd1", "sd2", "sdxl"]
PARTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
WEIGHTS = {
    "vae": "diffusion_pytorch_model",
    "unet": "diffusion_pytorch_model",
    "text_encoder": "model",
}


@dataclass(frozen=True, eq=False)
class Components:
    """The parts of a model.

    Attributes:
        text_encoder_2, tokenizer_2: the second ones of SDXL, else None.
        scheduler_config: content of scheduler/scheduler_config.json, which names the schedule and
            the prediction type the model was trained with.
        label: what the model is called in messages and metadata; never a path.
    """

    vae: AutoencoderKL | PixelIdentity
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    unet: UNet2DConditionModel
    scheduler_config: dict[str, Any]
    label: str
    text_encoder_2: CLIPTextModelWithProjection | None = None
    tokenizer_2: CLIPTokenizer | None = None

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks by the names of their folders."""
        found = {name: getattr(self, name) for name in ("vae", "text_encoder", "text_encoder_2", "unet")}
        return {name: network for name, network in found.items() if network is not None}

    @property
    def family(self) -> Family:
        """Which Stable Diffusion it is a model of, by its parts."""
        if self.text_encoder_2 is not None:
            return "sdxl"
        return "sd2" if self.unet.config.cross_attention_dim == 1024 else "sd1"

    @property
    def latent_factor(self) -> int:
        """Pixels per latent element, a side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def prediction_type(self) -> str:
        """What the network predicts, by its scheduler config; diffusers' default is epsilon."""
        return self.scheduler_config.get("prediction_type") or "epsilon"

    def to(self, device: torch.device) -> Components:
        """Move the networks to a device, in place."""
        for network in self.networks.values():
            network.to(device)
        return self

    def freeze(self) -> None:
        """Switch every network to evaluation mode without gradients."""
        for network in self.networks.values():
            network.eval().requires_grad_(False)


def load(path: Path) -> Components:
    """Load a model in fp32 on the CPU.

    Raises:
        UserError: not such a folder, a part missing, broken or pickled, or another kind of model.
    """
    index = _read_json(path, "model_index.json")
    kind = index.get("_class_name")
    if kind != "StableDiffusionPipeline":
        raise UserError(f"model.path: {path} holds a {kind}; a StableDiffusionPipeline is needed.")
    for part in PARTS:
        if not (path / part).is_dir():
            raise UserError(f"model.path: {path} has no folder '{part}'; a diffusers folder has {', '.join(PARTS)}.")
    for part, stem in WEIGHTS.items():
        _refuse_pickle(path / part, stem)
    scheduler = _read_json(path, "scheduler/scheduler_config.json")
    try:
        return Components(
            vae=_autoencoder(path).from_pretrained(path / "vae", local_files_only=True, use_safetensors=True),
            text_encoder=CLIPTextModel.from_pretrained(
                path / "text_encoder", local_files_only=True, use_safetensors=True, dtype=torch.float32
            ),
            tokenizer=CLIPTokenizer.from_pretrained(path / "tokenizer", local_files_only=True),
            unet=UNet2DConditionModel.from_pretrained(path / "unet", local_files_only=True, use_safetensors=True),
            scheduler_config=scheduler,
            label=path.name,
        )
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as reason:
        text = str(reason).strip().split("\n")[0]
        raise UserError(f"model.path: {path} does not load: {text}") from None


def save(components: Components, path: Path, dtype: torch.dtype) -> None:
    """Write a diffusers folder with weights in `dtype`; the networks in memory keep theirs."""
    for part in ("vae", "unet"):
        getattr(components, part).save_config(path / part)
        _forget_origin(path / part / "config.json")
    components.text_encoder.config.save_pretrained(path / "text_encoder")
    _forget_origin(path / "text_encoder" / "config.json")
    for part in WEIGHTS:
        save_weights(components, part, path, dtype)
    components.tokenizer.save_pretrained(path / "tokenizer")
    _save_vocabulary(components.tokenizer, path / "tokenizer")
    save_index(components, path)


def save_weights(components: Components, part: str, path: Path, dtype: torch.dtype) -> None:
    """Write the weights of one network below a diffusers folder.

    The libraries' own writers ignore the number format (diffusers) or keep the network's (transformers).
    """
    state = getattr(components, part).state_dict()
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in state.items()}
    (path / part).mkdir(parents=True, exist_ok=True)
    file = path / part / f"{WEIGHTS[part]}.safetensors"
    save_file(tensors, file, metadata={"format": "pt"})
    file.chmod(0o644)  # safetensors leaves it to its owner alone


def save_index(components: Components, path: Path) -> None:
    """Write what ties the parts together: the scheduler's config and the pipeline's index."""
    (path / "scheduler").mkdir(parents=True, exist_ok=True)
    (path / "scheduler" / "scheduler_config.json").write_text(json.dumps(components.scheduler_config, indent=2) + "\n")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", components.scheduler_config.get("_class_name", "DDIMScheduler")],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": [
            "diffusers" if isinstance(components.vae, AutoencoderKL) else PixelIdentity.__module__,
            type(components.vae).__name__,
        ],
    }
    (path / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def _autoencoder(path: Path) -> type[AutoencoderKL | PixelIdentity]:
    return PixelIdentity if _read_json(path, "vae/config.json").get("_class_name") == "PixelIdentity" else AutoencoderKL


def _save_vocabulary(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """vocab.json and merges.txt, which transformers 5 leaves out and every older program asks for."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")


def _forget_origin(file: Path) -> None:
    """Take the folder that a part was loaded from out of its config: nobody else has that folder."""
    config = json.loads(file.read_text())
    config.pop("_name_or_path", None)
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _read_json(path: Path, name: str) -> dict[str, Any]:
    if path.is_file():
        raise UserError(f"model.path: {path} is a file; a folder in diffusers layout is needed.{_pickle_hint(path)}")
    if not path.is_dir():
        raise UserError(f"model.path: there is no folder {path}.")
    try:
        content = json.loads((path / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"model.path: {path} has no {name}; a diffusers folder has one.") from None
    except (OSError, ValueError) as reason:
        raise UserError(f"model.path: {path / name} cannot be read ({reason}).") from None
    return content if isinstance(content, dict) else {}


def _refuse_pickle(folder: Path, stem: str) -> None:
    if any(folder.glob(f"{stem}*.safetensors")):
        return
    pickled = [p.name for p in folder.iterdir() if p.suffix in (".bin", ".ckpt", ".pt", ".pth")]
    if pickled:
        raise UserError(
            f"model.path: {folder / pickled[0]} is a pickle, which can run code when opened. "
            "Save the model with safetensors (in diffusers: save_pretrained with safe_serialization=True) and use that."
        )
    raise UserError(f"model.path: {folder} has no {stem}.safetensors.")


def _pickle_hint(path: Path) -> str:
    if path.suffix in (".ckpt", ".pt", ".pth", ".bin"):
        return " A pickle can run code when opened and is never loaded; convert it to safetensors first."
    return ""
