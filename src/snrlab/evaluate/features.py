"""The user's feature networks: a folder of a transformers vision model, or the Inception of 2015 as a file.

Nothing is downloaded and torchvision is not used: pictures are preprocessed with Pillow, as the folder's own
preprocessor_config.json specifies.
"""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from snrlab.core.errors import UserError, first_line
from snrlab.evaluate import inception
from snrlab.evaluate.feature_source import refuse_missing_features

_BATCH = 32
# of an image model; of a CLIP model with its tokenizer
PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
WEIGHTS_FILES = (".safetensors", ".pth", ".pt")
INCEPTION_FILES = (
    "pt_inception-2015-12-05-6726825d.pth of pytorch-fid, weights-inception-2015-12-05-6726825d.pth of torch-fidelity"
)


@dataclass(frozen=True, eq=False)
class FeatureNet:
    """A network that maps each picture to a feature vector.

    Attributes:
        label: name and class, for tables and files; never a path.
        features: maps at most _BATCH pictures, uint8 [N, H, W, 3], to features [N, D].
    """

    label: str
    features: Callable[[NDArray[np.uint8]], Tensor]

    @torch.no_grad()
    def extract(self, pictures: NDArray[np.uint8]) -> Tensor:
        """Features of any number of pictures, fp32 on the CPU: [N, D]."""
        parts = range(0, len(pictures), _BATCH)
        return torch.cat([self.features(pictures[i : i + _BATCH]).float().cpu() for i in parts])


@dataclass(frozen=True)
class FeatureNetworkKind:
    """A supported class of transformers, and where its features are.

    Attributes:
        network: the class to load; of a model that also reads text, the vision part.
        output: name of the output that holds the features.
        first_token: whether only the output's first token is used (for networks whose pooler is often untrained).
        options: keyword arguments for loading it.
    """

    network: str
    output: str = "pooler_output"
    first_token: bool = False
    options: tuple[tuple[str, Any], ...] = ()


CLIP_PROJECTED = FeatureNetworkKind("CLIPVisionModelWithProjection", "image_embeds")
KINDS = {
    "dinov2": FeatureNetworkKind("Dinov2Model"),
    "dinov2_with_registers": FeatureNetworkKind("Dinov2WithRegistersModel"),
    "clip": CLIP_PROJECTED,
    "clip_vision_model": FeatureNetworkKind("CLIPVisionModel"),
    "siglip": FeatureNetworkKind("SiglipVisionModel"),
    "siglip_vision_model": FeatureNetworkKind("SiglipVisionModel"),
    "vit": FeatureNetworkKind(
        "ViTModel", "last_hidden_state", first_token=True, options=(("add_pooling_layer", False),)
    ),
}
SUPPORTED = (
    "Dinov2Model, Dinov2WithRegistersModel, CLIPModel, CLIPVisionModel, CLIPVisionModelWithProjection, SiglipModel, "
    "SiglipVisionModel, ViTModel"
)


def open_net(path: Path) -> FeatureNet:
    """Open a folder of a transformers vision model, or a file with the weights of the Inception of 2015.

    Raises:
        UserError: nothing at the path, an unsupported class, pickled or incomplete weights, or no preprocessor.
    """
    if path.is_file():
        return _open_inception(path)
    refuse_missing_features(path)
    kind = _detect_kind(path)
    _refuse_pickle(path)
    network, process = _load_network(path, kind), _load_processor(path)

    def features(pictures: NDArray[np.uint8]) -> Tensor:
        inputs = process(images=[Image.fromarray(p) for p in pictures], return_tensors="pt")
        output = getattr(network(inputs["pixel_values"].to(network.device)), kind.output)
        return output[:, 0] if kind.first_token else output

    return FeatureNet(f"{path.resolve().name} ({kind.network})", features)


def _detect_kind(path: Path) -> FeatureNetworkKind:
    config = _read_json(path / "config.json")
    kind, classes = config.get("model_type"), config.get("architectures") or []
    if kind not in KINDS:
        class_name = classes[0] if classes else kind or "model of an unknown type"
        raise UserError(
            f"--features: {path} holds a {class_name}, which is not supported. Allowed: {SUPPORTED}.",
            code="not-supported",
        )
    projected = kind == "clip_vision_model" and CLIP_PROJECTED.network in classes
    return CLIP_PROJECTED if projected else KINDS[kind]


def _load_network(path: Path, kind: FeatureNetworkKind) -> Any:
    """Load the network in fp32, in evaluation mode; every weight must come from the folder."""
    try:
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        if config.model_type == "clip":  # the vision part repeats this number, wrongly in some published folders
            config.vision_config.projection_dim = config.projection_dim
        network, report = getattr(transformers, kind.network).from_pretrained(
            path,
            config=getattr(config, "vision_config", config),
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are in the report, which is checked below
            dtype=torch.float32,
            **dict(kind.options),
        )
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as reason:
        raise UserError(f"--features: {path} does not load: {first_line(reason)}", code="invalid-content") from None
    wrong = sorted({*report["missing_keys"], *(str(key[0]) for key in report["mismatched_keys"])})
    if wrong:
        raise UserError(
            f"--features: the weights in {path} are not those of this {kind.network}: {wrong[0]} is missing or has "
            f"another shape{f', and {len(wrong) - 1} more' if len(wrong) > 1 else ''}.",
            code="does-not-fit-model",
        )
    return network.eval().requires_grad_(False).to(_device())


def _load_processor(path: Path) -> Any:
    if not any((path / name).is_file() for name in PREPROCESSORS):
        raise UserError(
            f"--features: {path} has no {PREPROCESSORS[0]}, which says how pictures are scaled and normalised for this "
            "network. Take the one that was published with it.",
            code="missing-file",
        )
    for name in PREPROCESSORS:
        if (path / name).is_file():
            _read_json(path / name)
    try:
        return transformers.AutoImageProcessor.from_pretrained(
            path, local_files_only=True, trust_remote_code=False, backend="pil"
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as reason:
        raise UserError(
            f"--features: the preprocessor in {path} does not load: {first_line(reason)}", code="invalid-content"
        ) from None


def _open_inception(path: Path) -> FeatureNet:
    if path.suffix not in WEIGHTS_FILES:
        raise UserError(
            f"--features: {path.name} is not a weights file; the supported ones are those of the Inception of 2015: "
            f"{INCEPTION_FILES}, or the same as .safetensors.",
            code="wrong-file",
        )
    try:
        network = inception.from_weights(_load_weights(path)).to(_device())
    except (SafetensorError, OSError, RuntimeError, EOFError, pickle.UnpicklingError):
        raise UserError(
            f"--features: {path.name} does not load as plain weights (anything else in a pickle is refused: it can run "
            f"code when opened). What is read is {INCEPTION_FILES}, or the same as .safetensors.",
            code="wrong-file",
        ) from None
    except (KeyError, AttributeError, TypeError) as reason:
        raise UserError(
            f"--features: {path.name} does not hold the weights of the Inception of 2015 ({first_line(reason)} does "
            "not fit); torchvision's own Inception is another network.",
            code="wrong-file",
        ) from None

    def features(pictures: NDArray[np.uint8]) -> Tensor:
        return network(torch.tensor(pictures, device=_device()).permute(0, 3, 1, 2).float())

    return FeatureNet(f"{path.name} (Inception)", features)


def _load_weights(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns about files that it then refuses, and the refusal is reported
        return torch.load(path, "cpu", weights_only=True)


def _refuse_pickle(path: Path) -> None:
    if any(path.glob("*.safetensors")):
        return
    pickled = sorted(p.name for p in path.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".ckpt"))
    if pickled:
        raise UserError(
            f"--features: {path / pickled[0]} is a pickle, which can run code when opened. Save the model with "
            "safetensors (save_pretrained of transformers does) and use that.",
            code="pickle-refused",
        )
    raise UserError(f"--features: {path} has no model.safetensors.", code="missing-file")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"--features: {file.parent} has no {file.name}; a model of transformers has one.", code="missing-file"
        ) from None
    except (OSError, ValueError) as reason:
        raise UserError(f"--features: {file} cannot be read ({reason}).", code="unreadable-file") from None
    return content if isinstance(content, dict) else {}


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
