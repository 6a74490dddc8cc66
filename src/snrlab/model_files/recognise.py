"""Recognition of a checkpoint file by its header: its family, what it predicts, and how that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from snrlab.core.errors import UserError
from snrlab.model_files import families
from snrlab.model_files.families import FAMILY_NAMES, TEXT_WIDTHS, Family
from snrlab.model_files.header import Header, metadata_of


class FileKind(NamedTuple):
    """Kind of a file in words, and advice on what to do with it; neither ends in a full stop."""

    words: str
    advice: str = ""

    def __str__(self) -> str:
        """Kind and advice, as sentences."""
        return f"{self.words}. {self.advice}" if self.advice else self.words


Claim = Literal["prediction_type", "zero_terminal_snr"]
UNET = "model.diffusion_model."
CONFIG_KEY = "snrlab.config"
_PREDICTIONS = {
    "v": "v_prediction",
    "v_prediction": "v_prediction",
    "epsilon": "epsilon",
}  # by the spelling in metadata
PREDICTION_KEYS = ("modelspec.prediction_type", "modelspec.predict_key")  # the second is ComfyUI's
_GIVE_BASE_MODEL = "Give the model that it was trained on"
# by the number of channels that the first convolution takes, of which 4 are the latent
OTHER_INPUTS = {
    5: "a depth-to-image model",
    7: "an upscaler",
    8: "an instruct-pix2pix model",
    9: "an inpainting model",
}
# models of these families that need another arithmetic, by the end of one tensor's name
SPECIAL = {
    "scaled_fp8": FileKind("a model in scaled 8-bit floats, which cannot be trained", "Take its fp16 or bf16 file"),
    "edm_mean": FileKind("a model in EDM's scaling, which this program does not train"),
    "edm_vpred.sigma_max": FileKind("a model in EDM's scaling, which this program does not train"),
}
# other kinds of files, by a part of one tensor's name
OTHER_FILES = {
    "lora_": FileKind("a LoRA, which goes on top of a model", _GIVE_BASE_MODEL),
    ".lora": FileKind("a LoRA, which goes on top of a model", _GIVE_BASE_MODEL),
    "hada_w1_": FileKind("a LoHa, which goes on top of a model", _GIVE_BASE_MODEL),
    "lokr_w": FileKind("a LoKr, which goes on top of a model", _GIVE_BASE_MODEL),
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
    """Error for a file that is not a whole model of these families; `kind` says in words what it is."""

    def __init__(self, message: str, kind: str = "") -> None:
        """Take the whole message; only that is sent to other processes."""
        super().__init__(message, code="wrong-file")
        self.kind = kind


@dataclass(frozen=True)
class Checkpoint:
    """A whole model in one checkpoint file.

    Attributes:
        prediction_type: None if neither the file nor its family says.
        zero_terminal_snr: whether its schedule ends at SNR 0.
        source: how these two are known, in words.
        assumed: those of them that the file does not state.
    """

    header: Header
    family: Family
    prediction_type: str | None
    zero_terminal_snr: bool
    source: str
    assumed: frozenset[Claim]

    def config(self, part: str) -> dict[str, Any]:
        """Config of a network: the family's, updated with what the file's metadata states."""
        return families.config(self.family, part) | metadata_of(self.header, CONFIG_KEY).get(part, {})


def recognise(header: Header) -> Checkpoint:
    """Recognise a checkpoint file by its header.

    Raises:
        OtherKindError: it is not a whole model of these families; the message says what it is.
    """
    if not header.has(UNET) or header.has(UNET + "joint_blocks.") or header.has(UNET + "double_blocks."):
        raise _other_kind_error(header, other_kind(header), ". A whole SD 1.5, SD 2 or SDXL model is needed.")
    for ending, kind in SPECIAL.items():
        if any(name.endswith(ending) for name in header.shapes):
            raise _other_kind_error(header, kind, ".")
    shape = header.shapes.get(UNET + "input_blocks.0.0.weight", (0, 0))
    if shape[1] in OTHER_INPUTS:
        kind = FileKind(OTHER_INPUTS[shape[1]])
        advice = "Train the model that it was made from."
        raise _other_kind_error(header, kind, f": its UNet takes {shape[1]} channels, not the 4 of a latent. {advice}")
    family = _recognise_family(header)
    prediction_type, source, is_stated = _recognise_prediction_type(header, family)
    zero_terminal_snr = "ztsnr" in header.shapes or header.metadata.get("ss_zero_terminal_snr") == "True"
    assumed: set[Claim] = set() if is_stated else {"prediction_type"}
    if not zero_terminal_snr:
        assumed.add("zero_terminal_snr")  # few programs write the key, so its absence says nothing
    return Checkpoint(header, family, prediction_type, zero_terminal_snr, source, frozenset(assumed))


def stated_prediction(metadata: Mapping[str, str]) -> tuple[str, str] | None:
    """(prediction type that the metadata states, the entry that states it); None if it states no known one."""
    for key in PREDICTION_KEYS:
        word = metadata.get(key, "")
        if kind := _PREDICTIONS.get(word.lower()):
            return kind, f"{key} = {word}"
    return None


def _other_kind_error(header: Header, kind: FileKind, rest: str) -> OtherKindError:
    """Error that names the file and its kind; `rest` ends the sentence."""
    return OtherKindError(f"{header.where} is {kind}{rest}", kind.words)


def other_kind(header: Header) -> FileKind:
    """Likely kind of a file that is not a whole model of these families."""
    for part, kind in OTHER_FILES.items():
        if any(part in name for name in header.shapes):
            return kind
    first = ", ".join(list(header.shapes)[:3]) or "none"
    return FileKind(f"a file of an unknown kind (its first tensors are {first})")


def _recognise_family(header: Header) -> Family:
    """Family of a checkpoint, from the names of its text encoders (OtherKindError if it has none)."""
    if header.has("conditioner.embedders.1."):
        return "sdxl"
    if header.has("conditioner.embedders.0.model."):
        raise _other_kind_error(header, FileKind("the SDXL refiner"), "; train the base model.")
    if header.has("cond_stage_model.model."):
        return "sd2"
    if header.has("cond_stage_model.transformer."):
        return "sd1"
    width = next((s[1] for name, s in header.shapes.items() if name.endswith("attn2.to_k.weight")), 0)
    family = f"{FAMILY_NAMES[TEXT_WIDTHS[width]]} " if width in TEXT_WIDTHS else ""
    advice = "Give the whole checkpoint, or a diffusers folder that has all parts."
    raise _other_kind_error(header, FileKind(f"a {family}UNet without a text encoder"), f". {advice}")


def _recognise_prediction_type(header: Header, family: Family) -> tuple[str | None, str, bool]:
    """(prediction type, how it is known, whether the file states it)."""
    in_metadata = stated_prediction(header.metadata)
    if "v_pred" in header.shapes:
        contradiction = ", though its metadata says epsilon" if in_metadata and in_metadata[0] == "epsilon" else ""
        return "v_prediction", f"the file has the key v_pred{contradiction}", True
    if in_metadata:
        return in_metadata[0], f"the file's metadata says {in_metadata[1]}", True
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
