"""Loading a whole model from one .safetensors file, in the layout of the original programs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snrlab.core.errors import UserError
from snrlab.model_files.families import FAMILY_NAMES, PARTS
from snrlab.model_files.header import read_header
from snrlab.model_files.model_facts import checkpoint_facts
from snrlab.model_files.recognise import Checkpoint, recognise
from snrlab.models.clip import END, clip_tokenizer
from snrlab.models.components import Components
from snrlab.models.layouts.original_layout import PREFIXES, layout
from snrlab.models.networks import TensorFile, assign_weights, empty_network, fit_shape, open_tensors

# tensors dropped on purpose: moving averages of the weights and training state; MARKS are written anew from the model
LEFT_BEHIND = ("model_ema.", "loss.", "first_stage_model.loss.", "optimizer")
MARKS = ("v_pred", "ztsnr")
PAD = {("sd2", "tokenizer"): "!", ("sdxl", "tokenizer_2"): "!"}


def load_single_file(
    path: Path,
    dtype: torch.dtype | None,
    vae_dtype: torch.dtype | None,
    vae: nn.Module | None = None,
    field: str = "model.path",
) -> Components:
    """Load a model on the CPU, tensor by tensor.

    Args:
        path: the file.
        dtype: number format of the UNet and the text encoders; None keeps the file's, which then stays mapped.
        vae_dtype: the same for the autoencoder.
        vae: an autoencoder to use instead of the file's.
        field: name of the option or field that gave the file, for messages.

    Raises:
        UserError: it is not a model of a known family, or is incomplete.
    """
    checkpoint = recognise(read_header(path, field))
    family = checkpoint.family
    used: set[str] = set()
    with open_tensors(checkpoint.header) as file:
        networks: dict[str, Any] = {"vae": vae} if vae is not None else {}
        for part in PARTS[family]:
            if part not in networks:
                networks[part] = _load_network(part, checkpoint, file, vae_dtype if part == "vae" else dtype, used)
        extras = {name: file.read(name, None) for name in _unused_tensors(checkpoint, used, vae is not None)}
    facts = checkpoint_facts(checkpoint)
    names = ["tokenizer", "tokenizer_2"] if family == "sdxl" else ["tokenizer"]
    return Components(
        **networks,
        **{name: clip_tokenizer(PAD.get((family, name), END)) for name in names},
        scheduler_config=dict(facts.scheduler_config),
        label=facts.label,
        prediction_source=facts.prediction_source,
        assumed=facts.assumed,
        extras=extras,
    )


def _load_network(
    part: str, checkpoint: Checkpoint, file: TensorFile, dtype: torch.dtype | None, used: set[str]
) -> nn.Module:
    """Load a network of the file; the names of its tensors are added to `used`."""
    config = checkpoint.config(part)
    network = empty_network(part, config)
    shapes = network.state_dict()
    entries = layout(part, shapes, config, checkpoint.family)
    names = {entry.name: _name_in_file(entry.name, checkpoint.header.shapes) for entry in entries}
    _check_complete(part, checkpoint, names.values())
    tensors: dict[str, Tensor] = {}
    for entry in entries:
        tensor = file.read(names[entry.name], dtype)
        needed = tuple(entry.join(shapes).shape)
        tensors |= entry.split(fit_shape(tensor, needed, entry.name, checkpoint.header.where))
    used |= set(names.values())
    return assign_weights(network, tensors)


def _name_in_file(name: str, names: Iterable[str]) -> str:
    """The name of a tensor in this file: some early files lack a level in the text encoder's names."""
    short = name.replace("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer.")
    return short if name not in names and short in names else name


def _check_complete(part: str, checkpoint: Checkpoint, names: Iterable[str]) -> None:
    expected = list(names)
    missing = [name for name in expected if name not in checkpoint.header.shapes]
    if not missing:
        return
    where = f"{checkpoint.header.where} is a {FAMILY_NAMES[checkpoint.family]} file"
    if len(missing) == len(expected):
        way_out = "; give one as model.vae" if part == "vae" else ""
        raise UserError(f"{where} without a {part}{way_out}.", code="incomplete-weights")
    raise UserError(
        f"{where}, but {len(missing)} of the {len(expected)} tensors of its {part} are missing, such as {missing[0]}. "
        "It is damaged, or a pruned or changed architecture that is not known here.",
        code="incomplete-weights",
    )


def _unused_tensors(checkpoint: Checkpoint, used: set[str], vae_replaced: bool) -> list[str]:
    """Tensors that no network used and that a copy of the file should keep.

    Raises:
        UserError: some of them belong to the UNet, so its architecture is another one.
    """
    ignored = (*LEFT_BEHIND, *((PREFIXES[checkpoint.family]["vae"],) if vae_replaced else ()))
    unused = [name for name in checkpoint.header.shapes if name not in used and not name.startswith(ignored)]
    unknown = [name for name in unused if name.startswith(PREFIXES[checkpoint.family]["unet"])]
    if unknown:
        raise UserError(
            f"{checkpoint.header.where} is a {FAMILY_NAMES[checkpoint.family]} file, but its UNet has {len(unknown)} "
            f"tensors more, such as {unknown[0]}: a changed architecture that is not known here.",
            code="does-not-fit-model",
        )
    return [name for name in unused if name not in MARKS]
