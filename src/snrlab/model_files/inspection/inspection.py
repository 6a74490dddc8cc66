"""Inspection of a model or LoRA file from its header and, for a LoRA, its small tensors; needs no torch."""

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
from snrlab.model_files.inspection.lora import Adapters, adapters, file_family, update_norms
from snrlab.model_files.inspection.weights import Norms, weight_norms
from snrlab.model_files.lora_names import place
from snrlab.model_files.recognise import OtherKindError, recognise, stated_prediction
from snrlab.model_files.tensors import element_count

_FIELD = "FILE"


@dataclass(frozen=True)
class Inspected:
    """Result of the inspection of a file or folder.

    Attributes:
        path: of the file or folder.
        size: in bytes.
        kind: in words: LoRA, DoRA, checkpoint, ...
        family, family_source: its family, None if it is not known; and how it is known.
        prediction_type, prediction_source: what it predicts, None if nothing says; and how it is known.
        zero_terminal_snr: whether its schedule ends at SNR 0; None if nothing says.
        formats: number of elements by number format.
        parts: number of elements by network; of a LoRA, number of layers.
        metadata: of the file.
        programs: whether other programs load it.
        findings: worst first.
        adapters: of a LoRA.
        norms: of the tensors, if they were read.
        hashes: by the name that programs have for them, if asked for.
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
    findings: tuple[Finding, ...]
    adapters: Adapters | None = None
    norms: Mapping[str, Norms] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)


def inspect_file(path: Path, *, norms: bool = False, hashes: bool = False) -> Inspected:
    """Inspect a file or diffusers folder.

    Args:
        path: a .safetensors file, or a folder with model_index.json.
        norms: also read every tensor of a checkpoint, which takes as long as reading the file.
        hashes: also compute the hashes by which programs know the file.

    Raises:
        UserError: the path does not exist, or is a pickle, not a whole safetensors file, or a folder without a model.
    """
    if path.is_dir():
        return _inspect_folder(path)
    header = read_header(path, _FIELD)
    is_adapter = any(place(name) for name in header.shapes)
    inspected = _inspect_lora(header) if is_adapter else _inspect_checkpoint(header, norms)
    findings = [*inspected.findings, *_layout_findings(header)]
    if hashes:
        computed = inspection_hashes(header)
        inspected = replace(inspected, hashes=computed)
        findings += _hash_findings(header, computed)
    return replace(inspected, findings=tuple(sorted(findings, key=lambda f: GRADES.index(f.grade))))


def _inspect_lora(header: Header) -> Inspected:
    lora = adapters(header)
    family, family_source = file_family(header, lora)
    prediction_type, prediction_source = _stated_prediction(header)
    norms, norm_findings = update_norms(header, lora)
    return Inspected(
        path=header.path,
        size=header.length,
        kind=lora.kind,
        family=family,
        family_source=family_source,
        prediction_type=prediction_type,
        prediction_source=prediction_source,
        zero_terminal_snr=_stated_terminal_snr(header),
        formats=_count_by_format(header),
        parts=lora.parts,
        metadata=header.metadata,
        programs=for_lora(lora, family),
        findings=(*lora.findings, *norm_findings),
        adapters=lora,
        norms=norms,
    )


def _inspect_checkpoint(header: Header, norms: bool) -> Inspected:
    formats, parts = _count_by_format(header), _count_by_network(header)
    try:
        checkpoint = recognise(header)
    except OtherKindError as other:
        return Inspected(
            header.path, header.length, other.kind, None, "", None, "", None, formats, parts, header.metadata, (), ()
        )
    findings: list[Finding] = []
    measured_norms: Mapping[str, Norms] = {}
    if norms:
        measured_norms, findings = weight_norms(header)
    keys = {"v_pred", "ztsnr"} & set(header.shapes)
    zero_terminal = None if "zero_terminal_snr" in checkpoint.assumed else checkpoint.zero_terminal_snr
    return Inspected(
        path=header.path,
        size=header.length,
        kind="a checkpoint",
        family=checkpoint.family,
        family_source="its text encoders and UNet",
        prediction_type=checkpoint.prediction_type,
        prediction_source=checkpoint.source,
        zero_terminal_snr=zero_terminal,
        formats=formats,
        parts=parts,
        metadata=header.metadata,
        programs=for_checkpoint(checkpoint.family, checkpoint.prediction_type, zero_terminal, keys),
        findings=tuple(findings),
        norms=measured_norms,
    )


def _inspect_folder(path: Path) -> Inspected:
    """Inspect a diffusers folder by its config files and the headers of each part's files."""
    if not (path / "model_index.json").is_file():
        files = sorted(p.name for p in path.glob("*.safetensors"))[:5]
        hint = f" It holds {', '.join(files)}: name one of them." if files else ""
        raise UserError(
            f"{_FIELD}: {path} is a folder without model_index.json, so it is no model.{hint}", code="wrong-file"
        )
    pipeline = str(read_json(path / "model_index.json").get("_class_name"))
    scheduler_file = path / "scheduler" / "scheduler_config.json"
    scheduler_config: dict[str, Any] = read_json(scheduler_file) if scheduler_file.is_file() else {}
    headers = {
        part.name: [read_header(file, _FIELD) for file in sorted(part.glob("*.safetensors"))]
        for part in sorted(path.iterdir())
        if part.is_dir()
    }
    formats: Counter[str] = Counter()
    for header in (h for group in headers.values() for h in group):
        formats.update(_count_by_format(header))
    width = _text_width(path)
    family = TEXT_WIDTHS.get(width)
    prediction_type = scheduler_config.get("prediction_type")
    return Inspected(
        path=path,
        size=sum(header.length for group in headers.values() for header in group),
        kind=f"a diffusers folder ({pipeline})",
        family=family,
        family_source=f"its UNet reads text of width {width}{'' if family else ', which fits no known family'}",
        prediction_type=str(prediction_type) if prediction_type else None,
        prediction_source=(
            "scheduler/scheduler_config.json" if prediction_type else "scheduler_config.json does not say"
        ),
        zero_terminal_snr=(
            bool(scheduler_config["rescale_betas_zero_snr"]) if "rescale_betas_zero_snr" in scheduler_config else None
        ),
        formats=dict(formats),
        parts={
            part: sum(element_count(header, name) for header in group for name in header.shapes)
            for part, group in headers.items()
            if group
        },
        metadata={},
        programs=for_folder(prediction_type == "v_prediction"),
        findings=tuple(_pickle_findings(path)),
    )


def _text_width(path: Path) -> int:
    config = path / "unet" / "config.json"
    width = read_json(config).get("cross_attention_dim") if config.is_file() else None
    return width if isinstance(width, int) else 0


def _pickle_findings(path: Path) -> list[Finding]:
    files = sorted(str(p.relative_to(path)) for p in path.glob("*/*.bin"))
    if not files:
        return []
    message = f"{', '.join(files[:3])} {'are pickles' if len(files) > 1 else 'is a pickle'}, which are never opened."
    return [Finding("pickles", "warning", message, "Convert the folder, or take one with .safetensors files.")]


def _count_by_format(header: Header) -> dict[str, int]:
    """Number of elements by number format, most first."""
    counts: Counter[str] = Counter()
    for name, number_format in header.formats.items():
        counts[number_format] += element_count(header, name)
    return dict(counts.most_common())


def _count_by_network(header: Header) -> dict[str, int]:
    """Number of elements of a checkpoint by network, told by the prefixes of the names."""
    networks = {
        "model.diffusion_model.": "unet", "first_stage_model.": "vae", "cond_stage_model.": "text_encoder",
        "conditioner.embedders.0.": "text_encoder", "conditioner.embedders.1.": "text_encoder_2",
    }  # fmt: skip
    counts: Counter[str] = Counter()
    for name in header.shapes:
        counts[next((part for prefix, part in networks.items() if name.startswith(prefix)), "other")] += element_count(
            header, name
        )
    return dict(counts)


def _stated_prediction(header: Header) -> tuple[str | None, str]:
    """(prediction type that a LoRA was trained with, how it is known), from its metadata."""
    in_metadata = stated_prediction(header.metadata)
    if in_metadata is not None:
        return in_metadata[0], f"metadata {in_metadata[1]}"
    version = header.metadata.get("ss_base_model_version", "")
    if version.endswith("_v"):
        return "v_prediction", f"metadata ss_base_model_version = {version}"
    return None, "the file does not say; the model that it is used with decides"


def _stated_terminal_snr(header: Header) -> bool | None:
    if "ztsnr" in header.shapes:
        return True
    value = header.metadata.get("ss_zero_terminal_snr", "")
    return {"True": True, "False": False}.get(value)


def _layout_findings(header: Header) -> list[Finding]:
    """Findings on the layout of the file itself."""
    findings = []
    ranges = sorted(header.offsets.values())
    end = max((stop for _, stop in ranges), default=header.length)
    if header.length > end:
        message = f"{header.length - end:,} bytes follow the last tensor; no program of the format writes any."
        findings.append(
            Finding("trailing_bytes", "warning", message, "Get the file again from where it was published.")
        )
    if any(stop > start for (_, stop), (start, _) in pairwise(ranges)):
        findings.append(
            Finding("overlapping_tensors", "error", "Tensors of the file overlap each other; it is damaged.")
        )
    return findings


def inspection_hashes(header: Header) -> dict[str, str]:
    """Hashes by which programs know a file.

    sha256 of the whole file (A1111 shows its first ten digits, CivitAI calls those AutoV2); sha256 of the tensors alone
    (kohya's `sshs_model_hash`, AutoV3); and the old hash of a piece of the file, eight digits (A1111 before 2023).
    """
    start = min((begin for begin, _ in header.offsets.values()), default=header.length)
    with header.path.open("rb") as file:
        whole = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(start)
        tensors = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0x100000)
        piece = file.read(0x10000)
    old = {"old": hashlib.sha256(piece).hexdigest()[:8]} if piece else {}  # a shorter file has none
    return {"sha256": whole, "AutoV2": whole[:10], "tensors_sha256": tensors, "AutoV3": tensors[:12], **old}


def _hash_findings(header: Header, computed: Mapping[str, str]) -> list[Finding]:
    stated_hash = header.metadata.get("sshs_model_hash")
    actual_hash = computed["tensors_sha256"]
    if not stated_hash or stated_hash == actual_hash:
        return []
    message = (
        f"the metadata says that sshs_model_hash is {stated_hash[:12]}, but the tensors' hash is {actual_hash[:12]}."
    )
    return [Finding("other_tensors", "warning", message, "They were changed after the hash was made.")]


def family_name(family: Family | None) -> str:
    """Name of a family, or `not known`."""
    return FAMILY_NAMES[family] if family else "not known"
