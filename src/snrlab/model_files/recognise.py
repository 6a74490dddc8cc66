"""What a safetensors file is, by its header: which family, what it predicts, and how that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from snrlab.core.errors import UserError
from snrlab.model_files import families
from snrlab.model_files.families import FAMILY_NAMES, TEXT_WIDTHS, Family
from snrlab.model_files.header import Header, metadata_of


class FileKind(NamedTuple):
    """What a file is, in words, and what to do about it; both without the stop at their end."""

    words: str
    advice: str = ""

    def __str__(self) -> str:
        """Both."""
        return f"{self.words}. {self.advice}" if self.advice else self.words


Claim = Literal["prediction_type", "zero_terminal_snr"]
UNET = "model.diffusion_model."
CONFIG_KEY = "snrlab.config"
_PREDICTIONS = {"v": "v_prediction", "v_prediction": "v_prediction", "epsilon": "epsilon"}  # by the word for them
PREDICTION_KEYS = ("modelspec.prediction_type", "modelspec.predict_key")  # the second is ComfyUI's
_GIVE_ITS_MODEL = "Give the model that it was trained on"
# by the number of channels that the first convolution takes, of which 4 are the latent
OTHER_INPUTS = {
    5: "a depth-to-image model",
    7: "an upscaler",
    8: "an instruct-pix2pix model",
    9: "an inpainting model",
}
# models of these families that need other arithmetic, by the end of some tensor's name
SPECIAL = {
    "scaled_fp8": FileKind("a model in scaled 8-bit floats, which cannot be trained", "Take its fp16 or bf16 file"),
    "edm_mean": FileKind("a model in EDM's scaling, which this program does not train"),
    "edm_vpred.sigma_max": FileKind("a model in EDM's scaling, which this program does not train"),
}
# what else a file may be, by a piece of some tensor's name
OTHER_FILES = {
    "lora_": FileKind("a LoRA, which goes on top of a model", _GIVE_ITS_MODEL),
    ".lora": FileKind("a LoRA, which goes on top of a model", _GIVE_ITS_MODEL),
    "hada_w1_": FileKind("a LoHa, which goes on top of a model", _GIVE_ITS_MODEL),
    "lokr_w": FileKind("a LoKr, which goes on top of a model", _GIVE_ITS_MODEL),
    "unet:0:": FileKind("a LoRA in the format of cloneofsimo's lora, which later programs do not read"),
    "text_encoder:0:": FileKind("a LoRA in the format of cloneofsimo's lora, which later programs do not read"),
    "joint_blocks.": FileKind("a Stable Diffusion 3 model"),
    "double_blocks.": FileKind("a Flux model, or one built like it"),
    "double_layers.": FileKind("an AuraFlow model"),
    "double_stream_modulation": FileKind("a Flux 2 model"),
    "cap_embedder": FileKind("a Lumina model, or one built like it"),
    "transformer_blocks.0.norm1.linear": FileKind("a diffusion transformer"),
    "control_model.": FileKind("a ControlNet"),
    "controlnet_cond_embedding": FileKind("a ControlNet"),
    "emb_params": FileKind("an embedding (textual inversion)"),
    "clip_g": FileKind("an embedding (textual inversion)"),
    "down_blocks.": FileKind(
        "a single network out of a diffusers folder", "Give the folder that holds model_index.json"
    ),
    "decoder.up.": FileKind("an autoencoder (VAE), which goes under model.vae"),
    "text_model.encoder.": FileKind("a text encoder without the rest of a model"),
    "transformer.resblocks.": FileKind("a text encoder without the rest of a model"),
}


class OtherKindError(UserError):
    """A file that is no whole model of these families; `kind` says in words what it is."""

    def __init__(self, message: str, kind: str = "") -> None:
        """With the whole message; that alone is told to other processes."""
        super().__init__(message, code="wrong-file")
        self.kind = kind


@dataclass(frozen=True)
class Checkpoint:
    """A whole model in one file.

    Attributes:
        prediction_type: None where neither the file nor its family says.
        zero_terminal_snr: whether its schedule ends at SNR 0.
        source: how the two are known, in words.
        assumed: which of them the file does not say.
    """

    header: Header
    family: Family
    prediction_type: str | None
    zero_terminal_snr: bool
    source: str
    assumed: frozenset[Claim]

    def config(self, part: str) -> dict[str, Any]:
        """Config of a network: the family's, with what the file says is different."""
        return families.config(self.family, part) | metadata_of(self.header, CONFIG_KEY).get(part, {})


def recognise(header: Header) -> Checkpoint:
    """What a file is.

    Raises:
        OtherKindError: it is no whole model of these families; the message says what it is.
    """
    if not header.has(UNET) or header.has(UNET + "joint_blocks.") or header.has(UNET + "double_blocks."):
        raise _other(header, other_kind(header), ". A whole SD 1.5, SD 2 or SDXL model is needed.")
    for mark, kind in SPECIAL.items():
        if any(name.endswith(mark) for name in header.shapes):
            raise _other(header, kind, ".")
    shape = header.shapes.get(UNET + "input_blocks.0.0.weight", (0, 0))
    if shape[1] in OTHER_INPUTS:
        kind = FileKind(OTHER_INPUTS[shape[1]])
        advice = "Train the model that it was made from."
        raise _other(header, kind, f": its UNet takes {shape[1]} channels, not the 4 of a latent. {advice}")
    family = _family(header)
    prediction_type, how, found = _prediction_type(header, family)
    zero = "ztsnr" in header.shapes or header.metadata.get("ss_zero_terminal_snr") == "True"
    assumed: set[Claim] = set() if found else {"prediction_type"}
    if not zero:
        assumed.add("zero_terminal_snr")  # few programs write the key: that it is absent says nothing
    return Checkpoint(header, family, prediction_type, zero, how, frozenset(assumed))


def stated_prediction(metadata: Mapping[str, str]) -> tuple[str, str] | None:
    """(what metadata says that a model predicts, how it says so); None where it says nothing that is known."""
    for key in PREDICTION_KEYS:
        word = metadata.get(key, "")
        if kind := _PREDICTIONS.get(word.lower()):
            return kind, f"{key} = {word}"
    return None


def _other(header: Header, kind: FileKind, rest: str) -> OtherKindError:
    return OtherKindError(f"{header.where} is {kind}{rest}", kind.words)


def other_kind(header: Header) -> FileKind:
    """What a file that is no whole model of these families seems to be."""
    for piece, kind in OTHER_FILES.items():
        if any(piece in name for name in header.shapes):
            return kind
    first = ", ".join(list(header.shapes)[:3]) or "none"
    return FileKind(f"of no kind that is known here (its first tensors are {first})")


def _family(header: Header) -> Family:
    if header.has("conditioner.embedders.1."):
        return "sdxl"
    if header.has("conditioner.embedders.0.model."):
        raise _other(header, FileKind("the SDXL refiner"), "; train the base model.")
    if header.has("cond_stage_model.model."):
        return "sd2"
    if header.has("cond_stage_model.transformer."):
        return "sd1"
    width = next((s[1] for name, s in header.shapes.items() if name.endswith("attn2.to_k.weight")), 0)
    family = f"{FAMILY_NAMES[TEXT_WIDTHS[width]]} " if width in TEXT_WIDTHS else ""
    advice = "Give the whole checkpoint, or a diffusers folder that has all parts."
    raise _other(header, FileKind(f"a {family}UNet without a text encoder"), f". {advice}")


def _prediction_type(header: Header, family: Family) -> tuple[str | None, str, bool]:
    """(type, how it is known, whether the file says it)."""
    stated = stated_prediction(header.metadata)
    if "v_pred" in header.shapes:
        against = ", though its metadata says epsilon" if stated and stated[0] == "epsilon" else ""
        return "v_prediction", f"the file has the key v_pred{against}", True
    if stated:
        return stated[0], f"the file's metadata says {stated[1]}", True
    architecture = header.metadata.get("modelspec.architecture", "")
    if architecture.startswith("stable-diffusion-v2-"):
        kind = "v_prediction" if architecture.startswith("stable-diffusion-v2-768-v") else "epsilon"
        return kind, f"the file's metadata says modelspec.architecture = {architecture}", True
    if family == "sd2":
        return None, "SD 2 files for 768 pixels predict v, those for 512 epsilon, and both hold the same tensors", False
    return (
        "epsilon",
        f"the file does not say; {FAMILY_NAMES[family]} predicts epsilon unless a file says otherwise",
        False,
    )
