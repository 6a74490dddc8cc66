"""Whole models in one .safetensors file, in the layout of the programs they came with."""

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
from snrlab.models.networks import TensorFile, empty, fill, fitted, opened

# what is knowingly left behind: averages beside the weights, parts of a training program; and the keys that are
# written anew from what the model is
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
        dtype: number format of the UNet and the text encoders; None is the file's, which then stays mapped.
        vae_dtype: the same of the autoencoder.
        vae: take this autoencoder, and not the file's.
        field: what the user gave the file as, for messages.

    Raises:
        UserError: it is no whole model of a known family, or is incomplete.
    """
    found = recognise(read_header(path, field))
    family = found.family
    used: set[str] = set()
    with opened(found.header) as file:
        networks: dict[str, Any] = {"vae": vae} if vae is not None else {}
        for part in PARTS[family]:
            if part not in networks:
                networks[part] = _network(part, found, file, vae_dtype if part == "vae" else dtype, used)
        extras = {name: file.read(name, None) for name in _left_over(found, used, vae is not None)}
    facts = checkpoint_facts(found)
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


def _network(part: str, found: Checkpoint, file: TensorFile, dtype: torch.dtype | None, used: set[str]) -> nn.Module:
    """A network of the file; the names of its tensors are added to `used`."""
    config = found.config(part)
    network = empty(part, config)
    shapes = network.state_dict()
    entries = layout(part, shapes, config, found.family)
    names = {entry.name: _name_there(entry.name, found.header.shapes) for entry in entries}
    _refuse_missing(part, found, names.values())
    tensors: dict[str, Tensor] = {}
    for entry in entries:
        tensor = file.read(names[entry.name], dtype)
        needed = tuple(entry.join(shapes).shape)
        tensors |= entry.split(fitted(tensor, needed, entry.name, found.header.where))
    used |= set(names.values())
    return fill(network, tensors)


def _name_there(name: str, there: Iterable[str]) -> str:
    """The name of a tensor in this file: some early ones lack a level of the text encoder's names."""
    short = name.replace("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer.")
    return short if name not in there and short in there else name


def _refuse_missing(part: str, found: Checkpoint, names: Iterable[str]) -> None:
    wanted = list(names)
    missing = [name for name in wanted if name not in found.header.shapes]
    if not missing:
        return
    where = f"{found.header.where} is a {FAMILY_NAMES[found.family]} file"
    if len(missing) == len(wanted):
        way_out = "; give one as model.vae" if part == "vae" else ""
        raise UserError(f"{where} without a {part}{way_out}.", code="incomplete-weights")
    raise UserError(
        f"{where}, but {len(missing)} of the {len(wanted)} tensors of its {part} are missing, such as {missing[0]}. "
        "It is damaged, or a pruned or changed architecture that is not known here.",
        code="incomplete-weights",
    )


def _left_over(found: Checkpoint, used: set[str], vae_replaced: bool) -> list[str]:
    """Tensors that no network took and that a copy of the file should have.

    Raises:
        UserError: some of them belong to the UNet, so that it is another one than was thought.
    """
    gone = (*LEFT_BEHIND, *((PREFIXES[found.family]["vae"],) if vae_replaced else ()))
    over = [name for name in found.header.shapes if name not in used and not name.startswith(gone)]
    strange = [name for name in over if name.startswith(PREFIXES[found.family]["unet"])]
    if strange:
        raise UserError(
            f"{found.header.where} is a {FAMILY_NAMES[found.family]} file, but its UNet has {len(strange)} tensors "
            f"more, such as {strange[0]}: a changed architecture that is not known here.",
            code="does-not-fit-model",
        )
    return [name for name in over if name not in MARKS]
