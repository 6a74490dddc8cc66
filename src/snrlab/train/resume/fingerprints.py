"""Fingerprints of a run's inputs: hashes of their content, recorded when the run starts, compared when it resumes.

So an edited image, a rewritten caption or another model under the same name is noticed, while a folder that was only
moved makes no difference. Names of files are recorded, never folders.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from snrlab.config import RunConfig
from snrlab.core.errors import UserError
from snrlab.data.items import DataSet, Item
from snrlab.models.encoding.cache import file_hash
from snrlab.runs.folder import RunFolder

_MAX_NAMED = 5  # images that a line of an error message names
_IMAGE_KEYS = ("images", "held_back")  # in the file: to train on, to validate on
PIECES_READ = 64  # evenly spread pieces of a weights file that are hashed
PIECE_BYTES = 2**16
CHANGED_ADVICE = (
    "What has been trained so far depends on these. Put them back as they were, then resume; or start a new "
    "run from the last checkpoint with the inputs as they are now: snrlab train FILE --fork NAME."
)


@dataclass(frozen=True)
class ImageFingerprint:
    """Fingerprint of one image, its mask, its captions and its options.

    Attributes:
        name: of the file, or the code point of a shipped image.
        picture, mask, text: hashes of the bytes of the image and of its mask, and of its captions.
        use: hash of the options for it: sizes, flips, rules for captions, repeats.
        stamp: size and time of change of its file, by which it is recognised without being read; None if not recorded.
    """

    name: str
    picture: str
    mask: str | None
    text: str
    use: str
    stamp: tuple[int, int] | None = None

    @property
    def content(self) -> ImageFingerprint:
        """The same without the stamp, which is not compared."""
        return replace(self, stamp=None)


@dataclass(frozen=True)
class InputFingerprints:
    """Fingerprints of all inputs: images to train on, in order, images to validate on, and files of the model."""

    images: tuple[ImageFingerprint, ...]
    validation: tuple[ImageFingerprint, ...]
    model: dict[str, str]


Stamps = dict[tuple[str, tuple[int, int] | None], ImageFingerprint]


def fingerprint_inputs(
    config: RunConfig, training: Sequence[Item], validation: Sequence[Item], recorded: InputFingerprints | None = None
) -> InputFingerprints:
    """Fingerprint the inputs of a run; an image whose file has its `recorded` size and time is not read again."""
    recorded_images = () if recorded is None else (*recorded.images, *recorded.validation)
    stamps: Stamps = {(image.name, image.stamp): image for image in recorded_images if image.stamp}
    with ThreadPoolExecutor() as pool:
        trained_on, validated_on = (
            tuple(pool.map(lambda i: _fingerprint_image(i, stamps, config), items)) for items in (training, validation)
        )
    paths = {"model": config.model.path, "vae": config.model.vae}
    model_hashes = {
        f"{part}{file}": h for part, path in paths.items() if path for file, h in _hash_weights(Path(path)).items()
    }
    return InputFingerprints(trained_on, validated_on, model_hashes)


def fingerprints_text(inputs: InputFingerprints) -> str:
    """The fingerprints as JSON, with one image a line."""
    groups = zip(_IMAGE_KEYS, (inputs.images, inputs.validation), strict=True)
    lines = [f'"{key}": [\n{_json_rows(images)}\n]' for key, images in groups]
    return "{\n" + ",\n".join([*lines, f'"model": {json.dumps(inputs.model, sort_keys=True)}']) + "\n}\n"


def read_fingerprints(folder: RunFolder) -> InputFingerprints | None:
    """The recorded fingerprints of a run folder; None if it has none."""
    try:
        data = json.loads(folder.sources_file.read_text(encoding="utf-8"))
        groups = [
            tuple(
                ImageFingerprint(**row | {"stamp": tuple(row["stamp"]) if row.get("stamp") else None})
                for row in data[key]
            )
            for key in _IMAGE_KEYS
        ]
        return InputFingerprints(groups[0], groups[1], data["model"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(
            f"{folder.sources_file} is damaged, so the inputs of the run are no longer known. {CHANGED_ADVICE}",
            code="damaged-file",
        ) from None


def refuse_changed(folder: RunFolder, recorded: InputFingerprints, now: InputFingerprints) -> None:
    """Refuse to resume a run with other images, captions or weights than it started with.

    Raises:
        UserError: some input has changed, is missing or is new; all are named.
    """
    changes = [
        *_differences("images", recorded.images, now.images),
        *_differences("validation images", recorded.validation, now.validation),
    ]
    if sorted(recorded.model.values()) != sorted(now.model.values()):
        changes.append("the model is a different one")
    if changes:
        lines = "\n".join(f"  {line}" for line in changes)
        raise UserError(
            f"the inputs of {folder.path} have changed since it was started:\n{lines}\n{CHANGED_ADVICE}",
            code="data-changed",
        )


def refuse_missing_folders(folder: RunFolder, config: RunConfig) -> None:
    """Refuse to resume a run whose input files or folders no longer exist (UserError)."""
    data = config.data
    paths = {"data.folder": data.folder, "data.regularisation": data.regularisation, "data.masks": data.masks,
              "data.dataset_config": data.dataset_config, "validation.folder": config.validation.folder,
              "model.path": config.model.path, "model.vae": config.model.vae}  # fmt: skip
    for field, path in paths.items():
        if path is not None and not Path(path).exists():
            raise UserError(
                f"{field}: {path} does not exist any more. Put it back; or, if it has moved, set its new place: "
                f'snrlab resume RUN --set {field}="PLACE" goes on if the content is the same.',
                code="missing-file",
            )


def _differences(label: str, recorded: Sequence[ImageFingerprint], now: Sequence[ImageFingerprint]) -> list[str]:
    """Lines that name the images of a group that differ, for each kind of difference."""
    before, after = _numbered(recorded), _numbered(now)
    both = [name for name in before if name in after]
    names_by_change = {
        f"{label} that changed": [n for n in both if _differs(before[n], after[n], "picture")],
        f"{label} whose captions changed": [n for n in both if _differs(before[n], after[n], "text")],
        f"{label} whose masks changed": [n for n in both if _differs(before[n], after[n], "mask")],
        f"{label} whose options changed": [n for n in both if _differs(before[n], after[n], "use")],
        f"{label} that are missing": [n for n in before if n not in after],
        f"{label} that are new": [n for n in after if n not in before],
    }
    lines = [f"{kind}: {_list_names([name for name, _ in names])}" for kind, names in names_by_change.items() if names]
    if not lines and [image.content for image in recorded] != [image.content for image in now]:
        lines = [f"{label} are in a different order"]
    return lines


def _differs(before: ImageFingerprint, now: ImageFingerprint, part: str) -> bool:
    return getattr(before, part) != getattr(now, part)


def _numbered(images: Sequence[ImageFingerprint]) -> dict[tuple[str, int], ImageFingerprint]:
    """Fingerprints by name and, where several images have the same name, by number."""
    count: Counter[str] = Counter()
    numbered = {}
    for image in images:
        numbered[image.name, count[image.name]] = image
        count[image.name] += 1
    return numbered


def _list_names(names: Sequence[str]) -> str:
    omitted = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + omitted


def _fingerprint_image(item: Item, stamps: Stamps, config: RunConfig) -> ImageFingerprint:
    stamp = None
    if item.file is not None and config.output.dates:  # a time would make equal runs unequal
        facts = item.file.stat()
        stamp = (facts.st_size, facts.st_mtime_ns)
    recorded = stamps.get((item.name, stamp))
    return ImageFingerprint(
        name=item.name,
        picture=recorded.picture if recorded else _hash_picture(item),
        mask=None if item.mask is None else file_hash(item.mask),
        text=_hash(json.dumps(item.captions)),
        use=_hash(json.dumps([_as_floats(_use(item.part)), item.repeats])),
        stamp=stamp,
    )


# options of captions as they are named in the fingerprints of runs that were started before; new ones need no entry
_CAPTION_NAMES = {
    "wildcards": "wildcard", "caption_prefix": "prefix", "caption_suffix": "suffix", "caption_dropout": "dropout",
    "caption_dropout_every_n_epochs": "dropout_every", "caption_separator": "separator",
    "secondary_separator": "secondary_separator", "keep_tokens": "keep_tokens",
    "keep_tokens_separator": "keep_separator", "shuffle_tags": "shuffle", "tag_dropout": "tag_dropout",
    "token_warmup_min": "warmup_min", "token_warmup_steps": "warmup_steps",
}  # fmt: skip


def _use(part: DataSet) -> dict[str, Any]:
    """The options of an image's set but for its name.

    An option that came later stands among them only where it is set, so that runs started without it go on.
    """
    options = part.captions
    captions = {name: getattr(options, field) for field, name in _CAPTION_NAMES.items()}
    for field, info in type(options).model_fields.items():
        if field not in _CAPTION_NAMES and getattr(options, field) != info.default:
            captions[field] = getattr(options, field)
    return {f.name: getattr(part, f.name) for f in fields(part)} | {
        "name": "",
        "buckets": None if part.buckets is None else asdict(part.buckets),
        "captions": captions,
    }


def _hash_picture(item: Item) -> str:
    if item.file is not None:
        return file_hash(item.file)
    assert item.pixels is not None
    return hashlib.sha256(item.pixels.tobytes()).hexdigest()


def _hash_weights(path: Path) -> dict[str, str]:
    """Hashes of the weights files at a path, by their names below it."""
    if path.is_file():
        return {"": _hash_pieces(path)}
    files = sorted(path.rglob("*.safetensors"))
    return {f"/{file.relative_to(path).as_posix()}": _hash_pieces(file) for file in files}


def _hash_pieces(file: Path) -> str:
    """A hash of a large file's size and of pieces of it; enough, as another model differs everywhere."""
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as opened:
        for piece in range(PIECES_READ):
            opened.seek(piece * max(size - PIECE_BYTES, 0) // (PIECES_READ - 1))
            digest.update(opened.read(PIECE_BYTES))
    return digest.hexdigest()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _as_floats(value: object) -> object:
    """The same value with integers as floats: a run file may write 0 or 0.0."""
    if isinstance(value, dict):
        return {name: _as_floats(item) for name, item in value.items()}
    return float(value) if isinstance(value, int) else value


def _json_rows(images: Iterable[ImageFingerprint]) -> str:
    return ",\n".join(json.dumps(asdict(image)) for image in images)
