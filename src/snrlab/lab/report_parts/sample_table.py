"""Sample pictures of a run as a table: a row for each prompt, a column for each step."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image

from snrlab.config.prompts import parse_line

_SIDE = 384  # pixels; a larger picture is shown reduced, and links to its file
_PIXELATED = 128  # pixels; a picture up to this size is enlarged pixel by pixel


def samples_section(prompts: Sequence[str], samples: Mapping[int, Sequence[Path]], folder: Path) -> str:
    """The section of sample pictures; empty where there are none.

    Args:
        prompts: prompt lines of the run.
        samples: single pictures by step, each with the prompts that the run had then.
        folder: the run folder, which links start from.
    """
    rows: dict[tuple[str, int], dict[int, Path]] = {}  # by prompt, and by its number among equal ones
    for position, line in enumerate(prompts):
        prompt = parse_line(line, "prompt").prompt
        rows[prompt, sum(parse_line(one, "prompt").prompt == prompt for one in prompts[:position])] = {}
    for step, pictures in samples.items():
        drawn: list[str] = []
        for picture in pictures:
            prompt = _read_prompt(picture, picture.stat().st_mtime_ns)
            rows.setdefault((prompt, drawn.count(prompt)), {})[step] = picture
            drawn.append(prompt)
    steps = [step for step, pictures in samples.items() if pictures]
    if not steps:
        return ""
    head = "".join(f"<th>{'before training' if step == 0 else f'step {step}'}</th>" for step in steps)
    lines = "".join(
        f"<tr><th>{html.escape(prompt) or '(empty prompt)'}</th>"
        + "".join(f"<td>{_cell(row.get(step), folder, prompt, step)}</td>" for step in steps)
        + "</tr>"
        for (prompt, _), row in rows.items()
        if row
    )
    return (
        "<h2>Samples</h2><p>Every picture of a row starts from the same noise.</p>"
        f'<div class="sideways samples" tabindex="0"><table><tr><th></th>{head}</tr>{lines}</table></div>'
    )


def png_tag(png: bytes, alt: str, kind: str = "") -> str:
    """A PNG as an HTML picture that needs no other file."""
    return _tag(png, "png", alt, kind)


def _cell(file: Path | None, folder: Path, prompt: str, step: int) -> str:
    if file is None:
        return ""
    content, kind, small = _shown(file, file.stat().st_mtime_ns)
    picture = _tag(content, kind, f"{prompt}, step {step}", "small" if small else "")
    return f'<a href="{html.escape(file.relative_to(folder).as_posix(), quote=True)}">{picture}</a>'


def _tag(content: bytes, kind: str, alt: str, name: str) -> str:
    css = f' class="{name}"' if name else ""
    data = base64.b64encode(content).decode()
    return f'<img{css} alt="{html.escape(alt, quote=True)}" src="data:image/{kind};base64,{data}">'


@lru_cache(maxsize=4096)  # a run that is watched writes its report many times
def _shown(file: Path, changed: int) -> tuple[bytes, str, bool]:
    """A picture as the report holds it: its bytes, their format, and whether it is a small one.

    `changed` is the time of change of the file, so that another picture under its name is read again.
    """
    with Image.open(file) as picture:
        if max(picture.size) <= _SIDE:
            return file.read_bytes(), "png", max(picture.size) <= _PIXELATED
        reduced = picture.convert("RGB")
        reduced.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        data = io.BytesIO()
        reduced.save(data, format="JPEG", quality=88)
        return data.getvalue(), "jpeg", False


@lru_cache(maxsize=4096)
def _read_prompt(file: Path, changed: int) -> str:
    """The prompt that a picture was drawn from: the first line of its parameters."""
    with Image.open(file) as picture:
        return str(picture.info.get("parameters", "")).partition("\n")[0]
