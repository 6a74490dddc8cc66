"""What a model or LoRA file is, from its header and, for a LoRA, its small tensors; without torch."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from snrlab.core.errors import UserError
from snrlab.core.findings.finding import GRADES, Finding
from snrlab.files.text import read_json
from snrlab.model_files.families import FAMILY_NAMES, TEXT_WIDTHS, Family
from snrlab.model_files.header import Header, read_header
from snrlab.model_files.inspection.compatibility import Program, for_checkpoint, for_folder, for_lora
from snrlab.model_files.inspection.lora import Adapters, adapters, file_family, measured
from snrlab.model_files.inspection.weights import Norms, weight_norms
from snrlab.model_files.lora_names import place
from snrlab.model_files.recognise import OtherKindError, recognise, stated_prediction
from snrlab.model_files.tensors import elements

_FIELD = "FILE"


@dataclass(frozen=True)
class Inspected:
    """Everything that is said about a file or folder.

    Attributes:
        kind: in words: LoRA, DoRA, checkpoint, ...
        family, family_source: which models it belongs to, None where that is not known; and how it is known.
        prediction_type, prediction_source, zero_terminal_snr: the same of what it predicts; None where nothing says.
        formats: numbers by number format; parts: numbers by network.
        adapters: of a LoRA. norms: of the tensors, where they were read.
        hashes: by the name that programs have for them, where asked for.
        programs: which will load it; found: remarks, worst first.
    """

    path: Path
    size: int
    kind: str
    family: Family | None
    family_source: str
    prediction_type: str | None
    prediction_source: str
    zero_terminal_snr: bool | None
    formats: Mapping[str, int]
    parts: Mapping[str, int]
    metadata: Mapping[str, str]
    programs: tuple[Program, ...]
    found: tuple[Finding, ...]
    adapters: Adapters | None = None
    norms: Mapping[str, Norms] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)


def inspect_file(path: Path, *, norms: bool = False, hashes: bool = False) -> Inspected:
    """Look at a file or diffusers folder.

    Args:
        path: a .safetensors file, or a folder with model_index.json.
        norms: read every tensor of a checkpoint too, which takes as long as reading the file.
        hashes: read the file for the hashes by which programs know it.

    Raises:
        UserError: nothing there, a pickle, not a whole safetensors file, or a folder that holds no model.
    """
    if path.is_dir():
        return _folder(path)
    header = read_header(path, _FIELD)
    is_adapter = any(place(name) for name in header.shapes)
    found = _lora(header) if is_adapter else _checkpoint(header, norms)
    remarks = [*found.found, *_of_the_file(header)]
    if hashes:
        made = inspection_hashes(header)
        found = replace(found, hashes=made)
        remarks += _of_the_hashes(header, made)
    return replace(found, found=tuple(sorted(remarks, key=lambda f: GRADES.index(f.grade))))


def _lora(header: Header) -> Inspected:
    found = adapters(header)
    family, how = file_family(header, found)
    kind, source = _stated_prediction(header)
    norms, remarks = measured(header, found)
    return Inspected(
        header.path, header.length, found.kind, family, how, kind, source, _stated_terminal(header), _formats(header),
        found.parts, header.metadata, for_lora(found, family), (*found.found, *remarks), found, norms,
    )  # fmt: skip


def _checkpoint(header: Header, norms: bool) -> Inspected:
    common = (_formats(header), _top_level(header), header.metadata)
    try:
        known = recognise(header)
    except OtherKindError as other:
        return Inspected(header.path, header.length, other.kind, None, "", None, "", None, *common, (), ())
    remarks: list[Finding] = []
    read: Mapping[str, Norms] = {}
    if norms:
        read, remarks = weight_norms(header)
    keys = {"v_pred", "ztsnr"} & set(header.shapes)
    zero = None if "zero_terminal_snr" in known.assumed else known.zero_terminal_snr
    return Inspected(
        header.path, header.length, "a checkpoint", known.family, "its text encoders and UNet", known.prediction_type,
        known.source, zero, *common, for_checkpoint(known.family, known.prediction_type, zero, keys), tuple(remarks),
        norms=read,
    )  # fmt: skip


def _folder(path: Path) -> Inspected:
    """A diffusers folder: each part's files by their headers."""
    if not (path / "model_index.json").is_file():
        files = sorted(p.name for p in path.glob("*.safetensors"))[:5]
        hint = f" It holds {', '.join(files)}: name one of them." if files else ""
        raise UserError(
            f"{_FIELD}: {path} is a folder without model_index.json, so it is no model.{hint}", code="wrong-file"
        )
    kind = str(read_json(path / "model_index.json").get("_class_name"))
    scheduler = path / "scheduler" / "scheduler_config.json"
    stated: dict[str, Any] = read_json(scheduler) if scheduler.is_file() else {}
    headers = {
        part.name: [read_header(file, _FIELD) for file in sorted(part.glob("*.safetensors"))]
        for part in sorted(path.iterdir())
        if part.is_dir()
    }
    formats: Counter[str] = Counter()
    for header in (h for group in headers.values() for h in group):
        formats.update(_formats(header))
    width = _width(path)
    family = TEXT_WIDTHS.get(width)
    prediction = stated.get("prediction_type")
    return Inspected(
        path, sum(h.length for group in headers.values() for h in group), f"a diffusers folder ({kind})", family,
        f"its UNet reads text of width {width}{'' if family else ', as none of them does'}",
        str(prediction) if prediction else None,
        "scheduler/scheduler_config.json" if prediction else "scheduler_config.json does not say",
        bool(stated["rescale_betas_zero_snr"]) if "rescale_betas_zero_snr" in stated else None, dict(formats),
        {part: sum(elements(h, n) for h in group for n in h.shapes) for part, group in headers.items() if group}, {},
        for_folder(prediction == "v_prediction"), tuple(_pickles_in(path)),
    )  # fmt: skip


def _width(path: Path) -> int:
    config = path / "unet" / "config.json"
    width = read_json(config).get("cross_attention_dim") if config.is_file() else None
    return width if isinstance(width, int) else 0


def _pickles_in(path: Path) -> list[Finding]:
    found = sorted(str(p.relative_to(path)) for p in path.glob("*/*.bin"))
    if not found:
        return []
    message = f"{', '.join(found[:3])} {'are pickles' if len(found) > 1 else 'is a pickle'}, which are never opened."
    return [Finding("pickles", "warning", message, "Convert the folder, or take one with .safetensors files.")]


def _formats(header: Header) -> dict[str, int]:
    """How many numbers each number format has, most first."""
    counts: Counter[str] = Counter()
    for name, kind in header.formats.items():
        counts[kind] += elements(header, name)
    return dict(counts.most_common())


def _top_level(header: Header) -> dict[str, int]:
    """How many numbers each network of a checkpoint has, by the beginnings of the names."""
    names = {
        "model.diffusion_model.": "unet", "first_stage_model.": "vae", "cond_stage_model.": "text_encoder",
        "conditioner.embedders.0.": "text_encoder", "conditioner.embedders.1.": "text_encoder_2",
    }  # fmt: skip
    counts: Counter[str] = Counter()
    for name in header.shapes:
        counts[next((part for start, part in names.items() if name.startswith(start)), "other")] += elements(
            header, name
        )
    return dict(counts)


def _stated_prediction(header: Header) -> tuple[str | None, str]:
    """What a LoRA was trained to predict, as far as its metadata says."""
    stated = stated_prediction(header.metadata)
    if stated is not None:
        return stated[0], f"metadata {stated[1]}"
    version = header.metadata.get("ss_base_model_version", "")
    if version.endswith("_v"):
        return "v_prediction", f"metadata ss_base_model_version = {version}"
    return None, "the file does not say; the model that it is used with decides"


def _stated_terminal(header: Header) -> bool | None:
    if "ztsnr" in header.shapes:
        return True
    word = header.metadata.get("ss_zero_terminal_snr", "")
    return {"True": True, "False": False}.get(word)


def _of_the_file(header: Header) -> list[Finding]:
    """What is odd about the file as such."""
    found = []
    places = sorted(header.places.values())
    end = max((stop for _, stop in places), default=header.length)
    if header.length > end:
        message = f"{header.length - end:,} bytes follow the last tensor; no program of the format writes any."
        found.append(Finding("trailing_bytes", "warning", message, "Get the file again from where it was published."))
    if any(stop > start for (_, stop), (start, _) in pairwise(places)):
        found.append(Finding("overlapping_tensors", "error", "Tensors of the file overlap each other; it is damaged."))
    return found


def inspection_hashes(header: Header) -> dict[str, str]:
    """The hashes by which programs know a file.

    sha256 of the whole file (A1111 shows its first ten digits, CivitAI calls those AutoV2); of the tensors alone
    (kohya's `sshs_model_hash`, AutoV3); and the old one of a piece of it, eight digits (A1111 before 2023).
    """
    start = min((begin for begin, _ in header.places.values()), default=header.length)
    with header.path.open("rb") as file:
        whole = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(start)
        tensors = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0x100000)
        piece = file.read(0x10000)
    old = {"old": hashlib.sha256(piece).hexdigest()[:8]} if piece else {}  # a shorter file has none
    return {"sha256": whole, "AutoV2": whole[:10], "tensors_sha256": tensors, "AutoV3": tensors[:12], **old}


def _of_the_hashes(header: Header, made: Mapping[str, str]) -> list[Finding]:
    stated = header.metadata.get("sshs_model_hash")
    if not stated or stated == made["tensors_sha256"]:
        return []
    message = f"the metadata states sshs_model_hash {stated[:12]}, and the tensors have {made['tensors_sha256'][:12]}."
    return [Finding("other_tensors", "warning", message, "They were changed after the hash was made.")]


def family_name(family: Family | None) -> str:
    """In words."""
    return FAMILY_NAMES[family] if family else "not known"
