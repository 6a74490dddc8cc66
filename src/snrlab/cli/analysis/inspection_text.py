"""What was found out about a file, for people and for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from snrlab.lab.blocks import Block, BulletList, Heading, TableBlock
from snrlab.model_files.inspection.inspection import Inspected, family_name

_SHOWN = 100  # characters of a value
_OTHERS = 20  # lines of metadata that is of no known program
_PARTS = {
    "unet": "UNet", "text_encoder": "text encoder", "text_encoder_2": "second text encoder", "vae": "autoencoder",
}  # fmt: skip
DATASET = ("ss_tag_frequency", "ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_datasets", "ss_bucket_info")
GROUPS = ("Training", "Pictures", "Model specification", "Other metadata")
_FORMATS = {"F16": "fp16", "BF16": "bf16", "F32": "fp32", "F64": "fp64", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}


def inspection_blocks(found: Inspected, tags: int) -> Iterator[Block]:
    """In order: what it is, what is in it, who loads it, what to know, what it says about itself."""
    yield f"{found.path.name}: {found.kind}"
    yield BulletList(tuple(_facts(found)))
    if found.norms:
        yield Heading("Norms of what it adds" if found.adapters else "Norms of its weights")
        rows = [(n, str(v.layers), f"{v.norm:.4g}", f"{v.largest:.4g}") for n, v in found.norms.items()]
        yield TableBlock((("", "layers", "norm", "largest layer"), *rows))
    if found.programs:
        yield Heading("Which programs load it")
        yield TableBlock((("program", "loads it", ""), *((p.name, p.answer, p.why) for p in found.programs)))
    yield Heading("What to know")
    yield from found.found
    if not found.found:
        yield "Nothing stands out."
    yield from _metadata(found.metadata, tags)


def _facts(found: Inspected) -> Iterator[str]:
    how = f" ({found.family_source})" if found.family_source else ""
    yield f"family: {family_name(found.family)}{how}"
    if found.prediction_source:
        yield f"predicts: {found.prediction_type or 'not known'} ({found.prediction_source})"
        zero = {True: "yes", False: "no", None: "the file does not say"}[found.zero_terminal_snr]
        yield f"zero terminal SNR: {zero}"
    numbers = sum(found.formats.values())
    formats = ", ".join(f"{_FORMATS.get(k, k)} {v / numbers:.0%}" for k, v in found.formats.items()) if numbers else "-"
    yield f"size: {_bytes(found.size)}, {numbers:,} numbers, {formats}"
    if found.adapters is None:
        yield "holds: " + (", ".join(f"{_PARTS.get(k, k)} {v:,}" for k, v in found.parts.items()) or "nothing")
    else:
        yield "trains: " + ", ".join(f"{_PARTS.get(k, k)} {v} layers" for k, v in found.parts.items())
        yield f"rank: {_counted(found.adapters.ranks)}; alpha: {_counted(found.adapters.alphas)}"
        yield f"names: {found.adapters.layout}'s layout, UNet blocks by {found.adapters.names} names"
    for name, value in found.hashes.items():
        yield f"hash {name}: {value}"


def _counted(values: Mapping[Any, int]) -> str:
    """One value, or each with the layers that have it.

    >>> _counted({8: 192}), _counted({4: 10, 8: 30}), _counted({})
    ('8', '4 (10 layers), 8 (30 layers)', 'none in the file')
    """
    if len(values) <= 1:
        return "".join(f"{v:g}" for v in values) or "none in the file"
    shown = [f"{value:g} ({count} layers)" for value, count in list(values.items())[:8]]
    return ", ".join(shown) + (f", and {len(values) - 8} more" if len(values) > 8 else "")


def _metadata(metadata: Mapping[str, str], tags: int) -> Iterator[Block]:
    for title, lines in grouped(metadata, tags).items():
        if lines:
            yield Heading(title)
            shown = [f"{name} = {_short(value)}" for name, value in lines.items()]
            more = [f"and {len(shown) - _OTHERS} more; --format json has them"] if len(shown) > _OTHERS else []
            yield BulletList(tuple(shown) if title != GROUPS[-1] else (*shown[:_OTHERS], *more))


def grouped(metadata: Mapping[str, str], tags: int) -> dict[str, dict[str, str]]:
    """Metadata by what it is about: training, pictures, modelspec, other; empty entries left out."""
    groups: dict[str, dict[str, str]] = {name: {} for name in GROUPS}
    for key, value in sorted(metadata.items()):
        if value in ("None", "", "{}", "[]"):
            continue
        if key.startswith("modelspec."):
            groups["Model specification"][key.removeprefix("modelspec.")] = value
        elif key in DATASET:
            groups["Pictures"] |= _pictures(key, value, tags)
        elif key.startswith(("ss_num_", "ss_resolution")):
            groups["Pictures"][key.removeprefix("ss_")] = value
        elif key.startswith("ss_"):
            groups["Training"][key.removeprefix("ss_")] = value
        else:
            groups["Other metadata"][key] = value
    return groups


def _pictures(key: str, value: str, tags: int) -> dict[str, str]:
    """Kohya's account of the pictures, in short; what cannot be read is shown as it is."""
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


def _short(value: str) -> str:
    value = " ".join(value.split())
    return value if len(value) <= _SHOWN else f"{value[: _SHOWN - 3]}..."


def _bytes(count: int) -> str:
    """A size for people.

    >>> _bytes(900), _bytes(144_000_000)
    ('900 bytes', '144 MB')
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def inspection_as_data(found: Inspected, tags: int) -> dict[str, Any]:
    """As plain data, the whole metadata included."""
    adapters = found.adapters
    return {
        "file": str(found.path),
        "bytes": found.size,
        "kind": found.kind,
        "family": found.family,
        "family_source": found.family_source,
        "prediction_type": found.prediction_type,
        "prediction_source": found.prediction_source,
        "zero_terminal_snr": found.zero_terminal_snr,
        "formats": dict(found.formats),
        "parts": dict(found.parts),
        "adapters": adapters
        and {
            "layout": adapters.layout,
            "layers": len(adapters.layers),
            "parameters": adapters.parameters,
            "ranks": {str(k): v for k, v in adapters.ranks.items()},
            "alphas": {f"{k:g}": v for k, v in adapters.alphas.items()},
        },
        "norms": {k: {"layers": v.layers, "norm": v.norm, "largest": v.largest} for k, v in found.norms.items()},
        "hashes": dict(found.hashes),
        "programs": [{"name": p.name, "answer": p.answer, "why": p.why} for p in found.programs],
        "findings": [{"code": f.code, "grade": f.grade, "message": f.message, "action": f.action} for f in found.found],
        "tags": grouped(found.metadata, tags)["Pictures"],
        "metadata": dict(found.metadata),
    }
