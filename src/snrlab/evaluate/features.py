"""Feature networks that the user has: a folder of a transformers vision model, or the Inception of 2015 as a file.

Nothing is downloaded and torchvision is not used: pictures are prepared by Pillow, as the folder's own
preprocessor_config.json says.
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

from snrlab.core.errors import UserError, first_line, nearest
from snrlab.evaluate import inception

JUDGE = "judge"
_BATCH = 32
PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")  # of an image model; of a CLIP with its tokenizer
WEIGHTS_FILES = (".safetensors", ".pth", ".pt")
INCEPTION_FILES = (
    "pt_inception-2015-12-05-6726825d.pth of pytorch-fid, weights-inception-2015-12-05-6726825d.pth of torch-fidelity"
)


@dataclass(frozen=True, eq=False)
class FeatureNet:
    """A network that gives each picture a feature vector.

    Attributes:
        label: its name and class, for tables and files; never a path.
        features: pictures, uint8 [N, H, W, 3] and at most BATCH of them, to features [N, D].
    """

    label: str
    features: Callable[[NDArray[np.uint8]], Tensor]

    @torch.no_grad()
    def see(self, pictures: NDArray[np.uint8]) -> Tensor:
        """Features of any number of pictures, fp32 [N, D] on the CPU."""
        parts = range(0, len(pictures), _BATCH)
        return torch.cat([self.features(pictures[i : i + _BATCH]).float().cpu() for i in parts])


@dataclass(frozen=True)
class FeatureNetworkKind:
    """A class of transformers whose features we know how to read.

    Attributes:
        network: the class that is loaded, the vision part of a model that also reads text.
        output: which of its outputs the features are.
        first_token: whether of that output only the first token counts (networks whose pooler is often untrained).
        options: for its loading.
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
        UserError: nothing there, a class that is not supported, weights as a pickle or incomplete, or no preprocessor.
    """
    if path.is_file():
        return _open_inception(path)
    if not path.is_dir():
        hint = " Did you mean 'judge'?" if nearest(str(path), [JUDGE]) else ""
        raise UserError(
            f"--features: there is no folder or file {path}.{hint} Allowed: judge, a folder of a transformers vision "
            "model, or a file with Inception weights.",
            code="missing-file",
        )
    kind = _kind(path)
    _refuse_pickle(path)
    network, process = _network(path, kind), _processor(path)

    def features(pictures: NDArray[np.uint8]) -> Tensor:
        ready = process(images=[Image.fromarray(p) for p in pictures], return_tensors="pt")
        found = getattr(network(ready["pixel_values"].to(network.device)), kind.output)
        return found[:, 0] if kind.first_token else found

    return FeatureNet(f"{path.resolve().name} ({kind.network})", features)


def _kind(path: Path) -> FeatureNetworkKind:
    config = _read(path / "config.json")
    kind, classes = config.get("model_type"), config.get("architectures") or []
    if kind not in KINDS:
        what = classes[0] if classes else kind or "model of an unknown type"
        raise UserError(
            f"--features: {path} holds a {what}, which is not supported. Allowed: {SUPPORTED}.", code="not-supported"
        )
    projected = kind == "clip_vision_model" and CLIP_PROJECTED.network in classes
    return CLIP_PROJECTED if projected else KINDS[kind]


def _network(path: Path, kind: FeatureNetworkKind) -> Any:
    """The network in fp32, ready to measure; every weight of it from the folder."""
    try:
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        if config.model_type == "clip":  # the vision part repeats this number, in some published folders wrongly
            config.vision_config.projection_dim = config.projection_dim
        network, report = getattr(transformers, kind.network).from_pretrained(
            path,
            config=getattr(config, "vision_config", config),
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are in the report, which is read below
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


def _processor(path: Path) -> Any:
    if not any((path / name).is_file() for name in PREPROCESSORS):
        raise UserError(
            f"--features: {path} has no {PREPROCESSORS[0]}, which says how pictures are scaled and normalised for this "
            "network. Take the one that was published with it.",
            code="missing-file",
        )
    for name in PREPROCESSORS:
        if (path / name).is_file():
            _read(path / name)
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
            f"--features: {path.name} is no file of weights; of files, those of the Inception of 2015 are read: "
            f"{INCEPTION_FILES}, or the same as .safetensors.",
            code="wrong-file",
        )
    try:
        network = inception.from_weights(_weights(path)).to(_device())
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


def _weights(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about files that it then refuses, which is all we need to say
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


def _read(file: Path) -> dict[str, Any]:
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
