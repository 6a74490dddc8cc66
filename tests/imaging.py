"""Folders of small pictures for tests of what is found in them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def picture(path: Path, size: tuple[int, int] = (32, 32), colour: str = "red", mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


def captioned(folder: Path, **captions: str | None) -> Path:
    """A folder with a picture `NAME.png` for each name, and `NAME.txt` where a caption is given."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, caption in captions.items():
        picture(folder / f"{name}.png")
        if caption is not None:
            (folder / f"{name}.txt").write_text(caption, encoding="utf-8")
    return folder
