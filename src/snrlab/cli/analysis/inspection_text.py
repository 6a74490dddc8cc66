"""Inspection of a file, as blocks of text and as plain data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from snrlab.lab.blocks import Block, BulletList, Heading, TableBlock
from snrlab.model_files.inspection.inspection import Inspected, family_name

_LONGEST = 100  # characters of a value
_OTHER_LINES = 20  # lines of metadata of unknown programs
_PARTS = {
    "unet": "UNet", "text_encoder": "text encoder", "text_encoder_2": "second text encoder", "vae": "autoencoder",
}  # fmt: skip
DATASET_KEYS = ("ss_tag_frequency", "ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_datasets", "ss_bucket_info")
GROUPS = ("Training", "Training images", "Model specification", "Other metadata")
_FORMATS = {"F16": "fp16", "BF16": "bf16", "F32": "fp32", "F64": "fp64", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}


def inspection_blocks(inspected: Inspected, tags: int) -> Iterator[Block]:
    """The inspection as blocks: kind, contents, norms, programs that load it, findings, metadata."""
    yield f"{inspected.path.name}: {inspected.kind}"
    yield BulletList(tuple(_fact_lines(inspected)))
    if inspected.norms:
        yield Heading("Norms of what the LoRA adds" if inspected.adapters else "Norms of its weights")
        rows = [(n, str(v.layers), f"{v.norm:.4g}", f"{v.largest:.4g}") for n, v in inspected.norms.items()]
        yield TableBlock((("", "layers", "norm", "largest layer"), *rows))
    if inspected.programs:
        yield Heading("Which programs load it")
        yield TableBlock((("program", "loads it", ""), *((p.name, p.answer, p.reason) for p in inspected.programs)))
    yield Heading("What to know")
    yield from inspected.findings
    if not inspected.findings:
        yield "Nothing stands out."
    yield from _metadata_blocks(inspected.metadata, tags)


def _fact_lines(inspected: Inspected) -> Iterator[str]:
    source = f" ({inspected.family_source})" if inspected.family_source else ""
    yield f"family: {family_name(inspected.family)}{source}"
    if inspected.prediction_source:
        yield f"predicts: {inspected.prediction_type or 'not known'} ({inspected.prediction_source})"
        zero = {True: "yes", False: "no", None: "the file does not say"}[inspected.zero_terminal_snr]
        yield f"zero terminal SNR: {zero}"
    numbers = sum(inspected.formats.values())
    formats = (
        ", ".join(f"{_FORMATS.get(k, k)} {v / numbers:.0%}" for k, v in inspected.formats.items()) if numbers else "-"
    )
    yield f"size: {_size_text(inspected.size)}, {numbers:,} numbers, {formats}"
    if inspected.adapters is None:
        yield "holds: " + (", ".join(f"{_PARTS.get(k, k)} {v:,}" for k, v in inspected.parts.items()) or "nothing")
    else:
        yield "trains: " + ", ".join(f"{_PARTS.get(k, k)} {v} layers" for k, v in inspected.parts.items())
        yield f"rank: {_value_counts(inspected.adapters.ranks)}; alpha: {_value_counts(inspected.adapters.alphas)}"
        yield f"names: {inspected.adapters.layout}'s layout, UNet blocks by {inspected.adapters.unet_naming} names"
    for name, value in inspected.hashes.items():
        yield f"hash {name}: {value}"


def _value_counts(values: Mapping[Any, int]) -> str:
    """One value, or several with the number of layers that have each.

    >>> _value_counts({8: 192}), _value_counts({4: 10, 8: 30}), _value_counts({})
    ('8', '4 (10 layers), 8 (30 layers)', 'none in the file')
    """
    if len(values) <= 1:
        return "".join(f"{v:g}" for v in values) or "none in the file"
    counts = [f"{value:g} ({count} layers)" for value, count in list(values.items())[:8]]
    return ", ".join(counts) + (f", and {len(values) - 8} more" if len(values) > 8 else "")


def _metadata_blocks(metadata: Mapping[str, str], tags: int) -> Iterator[Block]:
    for title, lines in grouped(metadata, tags).items():
        if lines:
            yield Heading(title)
            entries = [f"{name} = {_shortened(value)}" for name, value in lines.items()]
            more = (
                [f"and {len(entries) - _OTHER_LINES} more; --format json has them"]
                if len(entries) > _OTHER_LINES
                else []
            )
            yield BulletList(tuple(entries) if title != GROUPS[-1] else (*entries[:_OTHER_LINES], *more))


def grouped(metadata: Mapping[str, str], tags: int) -> dict[str, dict[str, str]]:
    """Metadata grouped by subject: training, images, modelspec, other; empty entries are left out."""
    groups: dict[str, dict[str, str]] = {name: {} for name in GROUPS}
    for key, value in sorted(metadata.items()):
        if value in ("None", "", "{}", "[]"):
            continue
        if key.startswith("modelspec."):
            groups["Model specification"][key.removeprefix("modelspec.")] = value
        elif key in DATASET_KEYS:
            groups["Training images"] |= _image_metadata(key, value, tags)
        elif key.startswith(("ss_num_", "ss_resolution")):
            groups["Training images"][key.removeprefix("ss_")] = value
        elif key.startswith("ss_"):
            groups["Training"][key.removeprefix("ss_")] = value
        else:
            groups["Other metadata"][key] = value
    return groups


def _image_metadata(key: str, value: str, tags: int) -> dict[str, str]:
    """Kohya's metadata about the training images, shortened; an unreadable value is shown unchanged."""
    try:
        content = json.loads(value)
        if key == "ss_tag_frequency":
            counts: Counter[str] = Counter()
            for folder in content.values():
                counts.update({str(tag): int(number) for tag, number in folder.items()})
            shown = ", ".join(f"{tag} {number}" for tag, number in counts.most_common(tags))
            return {f"tags, the {min(tags, len(counts))} most frequent of {len(counts)}": shown} if shown else {}
        if key.endswith("dataset_dirs"):
            parts = [f"{name} {facts['img_count']} x {facts['n_repeats']}" for name, facts in content.items()]
            return {key.removeprefix("ss_"): ", ".join(parts)}
        if key == "ss_bucket_info":
            sizes = Counter({"x".join(map(str, b["resolution"])): b["count"] for b in content["buckets"].values()})
            return {"sizes": ", ".join(f"{size} {count}" for size, count in sizes.most_common(8))}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    return {key.removeprefix("ss_"): value}


def _shortened(value: str) -> str:
    value = " ".join(value.split())
    return value if len(value) <= _LONGEST else f"{value[: _LONGEST - 3]}..."


def _size_text(count: int) -> str:
    """A file size with its unit.

    >>> _size_text(900), _size_text(144_000_000)
    ('900 bytes', '144 MB')
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def inspection_as_data(inspected: Inspected, tags: int) -> dict[str, Any]:
    """The inspection as plain data, with the whole metadata."""
    adapters = inspected.adapters
    return {
        "file": str(inspected.path),
        "bytes": inspected.size,
        "kind": inspected.kind,
        "family": inspected.family,
        "family_source": inspected.family_source,
        "prediction_type": inspected.prediction_type,
        "prediction_source": inspected.prediction_source,
        "zero_terminal_snr": inspected.zero_terminal_snr,
        "formats": dict(inspected.formats),
        "parts": dict(inspected.parts),
        "adapters": adapters
        and {
            "layout": adapters.layout,
            "layers": len(adapters.layers),
            "parameters": adapters.parameters,
            "ranks": {str(k): v for k, v in adapters.ranks.items()},
            "alphas": {f"{k:g}": v for k, v in adapters.alphas.items()},
        },
        "norms": {k: {"layers": v.layers, "norm": v.norm, "largest": v.largest} for k, v in inspected.norms.items()},
        "hashes": dict(inspected.hashes),
        "programs": [{"name": p.name, "answer": p.answer, "why": p.reason} for p in inspected.programs],
        "findings": [
            {"code": f.code, "grade": f.grade, "message": f.message, "action": f.action} for f in inspected.findings
        ],
        "tags": grouped(inspected.metadata, tags)["Training images"],
        "metadata": dict(inspected.metadata),
    }
