"""What a run learns from, by content: noted when it starts, compared when it goes on.

So a picture that was edited, a caption that was rewritten or another model under the same name is found, and a folder
that was only moved is no difference. Names of files are noted, never folders.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from snrlab.config import RunConfig
from snrlab.core.errors import UserError
from snrlab.data.items import Item
from snrlab.models.encoding.cache import file_hash
from snrlab.runs.folder import RunFolder

_SHOWN = 5
PROBES, PROBE = 64, 2**16  # of a file of weights so many pieces of so many bytes are looked at, evenly spread
WAY_ON = (
    "What has been trained so far depends on these. Put them back as they were, and --resume goes on; or start a run "
    "of its own from the last checkpoint with what is there now: --fork NAME instead of --resume."
)


@dataclass(frozen=True)
class ImageFingerprint:
    """One image as it was used.

    Attributes:
        name: of the file, or the code point of a shipped picture.
        picture, mask, text: hashes of the bytes of its file and its mask's, and of its captions.
        use: hash of what is done with it: sizes, flips, rules for captions, repeats.
        stamp: size and time of change of its file, by which it is known without being read; None is not noted.
    """

    name: str
    picture: str
    mask: str | None
    text: str
    use: str
    stamp: tuple[int, int] | None = None

    @property
    def content(self) -> ImageFingerprint:
        """The same without what does not count."""
        return replace(self, stamp=None)


@dataclass(frozen=True)
class InputFingerprints:
    """What a run learns from: images to train on, in order, images to validate on, and files of the model."""

    images: tuple[ImageFingerprint, ...]
    held_back: tuple[ImageFingerprint, ...]
    model: dict[str, str]


Stamps = dict[tuple[str, tuple[int, int] | None], ImageFingerprint]


def fingerprint_inputs(
    config: RunConfig, items: Sequence[Item], held_back: Sequence[Item], known: InputFingerprints | None = None
) -> InputFingerprints:
    """What is there now; an image whose file has the size and time that are `known` is not read again."""
    noted = () if known is None else (*known.images, *known.held_back)
    stamps: Stamps = {(one.name, one.stamp): one for one in noted if one.stamp}
    with ThreadPoolExecutor() as pool:
        images, held = (tuple(pool.map(lambda i: _seen(i, stamps, config), group)) for group in (items, held_back))
    paths = {"model": config.model.path, "vae": config.model.vae}
    found = {f"{part}{file}": h for part, path in paths.items() if path for file, h in _weights(Path(path)).items()}
    return InputFingerprints(images, held, found)


def fingerprints_text(sources: InputFingerprints) -> str:
    """The note of a run's sources, one image a line, as text."""
    lines = [f'"{name}": [\n{_rows(getattr(sources, name))}\n]' for name in ("images", "held_back")]
    return "{\n" + ",\n".join([*lines, f'"model": {json.dumps(sources.model, sort_keys=True)}']) + "\n}\n"


def read_fingerprints(folder: RunFolder) -> InputFingerprints | None:
    """The note of a started run; None where there is none."""
    try:
        data = json.loads(folder.sources_file.read_text(encoding="utf-8"))
        groups = [
            tuple(
                ImageFingerprint(**one | {"stamp": tuple(one["stamp"]) if one.get("stamp") else None})
                for one in data[name]
            )
            for name in ("images", "held_back")
        ]
        return InputFingerprints(groups[0], groups[1], data["model"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(
            f"{folder.sources_file} is damaged: what the run learnt from is not known any more. {WAY_ON}",
            code="damaged-file",
        ) from None


def refuse_changed(folder: RunFolder, known: InputFingerprints, now: InputFingerprints) -> None:
    """Refuse to go on with other pictures, captions or weights than a run began with.

    Raises:
        UserError: naming what changed, has gone or is new.
    """
    found = [
        *_differences("pictures", known.images, now.images),
        *_differences("pictures held back", known.held_back, now.held_back),
    ]
    if sorted(known.model.values()) != sorted(now.model.values()):
        found.append("the model is another")
    if found:
        lines = "\n".join(f"  {line}" for line in found)
        raise UserError(
            f"since {folder.path} was started, what it learns from has changed:\n{lines}\n{WAY_ON}", code="data-changed"
        )


def refuse_missing_folders(folder: RunFolder, config: RunConfig) -> None:
    """Say of a started run whose folders are not where they were how to go on (UserError)."""
    data = config.data
    places = {"data.folder": data.folder, "data.regularisation": data.regularisation, "data.masks": data.masks,
              "data.dataset_config": data.dataset_config, "validation.folder": config.validation.folder,
              "model.path": config.model.path, "model.vae": config.model.vae}  # fmt: skip
    for field, path in places.items():
        if path is not None and not Path(path).exists():
            raise UserError(
                f"{field}: {path} is not there any more. Put it back; or, where it has moved, say where it is now: "
                f'--set {field}="PLACE" --resume goes on if what is there is the same.',
                code="missing-file",
            )


def _differences(what: str, known: Sequence[ImageFingerprint], now: Sequence[ImageFingerprint]) -> list[str]:
    before, after = _numbered(known), _numbered(now)
    both = [name for name in before if name in after]
    found = {
        f"{what} that changed": [n for n in both if _other(before[n], after[n], "picture")],
        f"{what} whose captions changed": [n for n in both if _other(before[n], after[n], "text")],
        f"{what} whose masks changed": [n for n in both if _other(before[n], after[n], "mask")],
        f"{what} that are used otherwise": [n for n in both if _other(before[n], after[n], "use")],
        f"{what} that have gone": [n for n in before if n not in after],
        f"{what} that are new": [n for n in after if n not in before],
    }
    lines = [f"{kind}: {_listed([name for name, _ in names])}" for kind, names in found.items() if names]
    if not lines and [s.content for s in known] != [s.content for s in now]:
        lines = [f"{what} come in another order"]
    return lines


def _other(before: ImageFingerprint, now: ImageFingerprint, part: str) -> bool:
    return getattr(before, part) != getattr(now, part)


def _numbered(seen: Sequence[ImageFingerprint]) -> dict[tuple[str, int], ImageFingerprint]:
    """By name, and where several have the same by number."""
    count: Counter[str] = Counter()
    found = {}
    for one in seen:
        found[one.name, count[one.name]] = one
        count[one.name] += 1
    return found


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _seen(item: Item, stamps: Stamps, config: RunConfig) -> ImageFingerprint:
    stamp = None
    if item.file is not None and config.output.dates:  # a time would make equal runs unequal
        facts = item.file.stat()
        stamp = (facts.st_size, facts.st_mtime_ns)
    known = stamps.get((item.name, stamp))
    part = replace(item.part, name="")
    return ImageFingerprint(
        name=item.name,
        picture=known.picture if known else _picture(item),
        mask=None if item.mask is None else file_hash(item.mask),
        text=_hash(json.dumps(item.captions)),
        use=_hash(json.dumps([_as_floats(asdict(part)), item.repeats])),
        stamp=stamp,
    )


def _picture(item: Item) -> str:
    if item.file is not None:
        return file_hash(item.file)
    assert item.pixels is not None
    return hashlib.sha256(item.pixels.tobytes()).hexdigest()


def _weights(path: Path) -> dict[str, str]:
    """Hashes of the files of weights at a path, by their names below it."""
    if path.is_file():
        return {"": _probed(path)}
    files = sorted(path.rglob("*.safetensors"))
    return {f"/{file.relative_to(path).as_posix()}": _probed(file) for file in files}


def _probed(file: Path) -> str:
    """A hash of a large file's size and of pieces of it: another model differs everywhere."""
    size = file.stat().st_size
    found = hashlib.sha256(str(size).encode())
    with file.open("rb") as opened:
        for place in range(PROBES):
            opened.seek(place * max(size - PROBE, 0) // (PROBES - 1))
            found.update(opened.read(PROBE))
    return found.hexdigest()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _as_floats(value: object) -> object:
    """The same with numbers of one kind: a run file may write 0 or 0.0."""
    if isinstance(value, dict):
        return {name: _as_floats(item) for name, item in value.items()}
    return float(value) if isinstance(value, int) else value


def _rows(seen: Iterable[ImageFingerprint]) -> str:
    return ",\n".join(json.dumps(asdict(one)) for one in seen)
