"""[data]: images and captions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from snrlab.config.section import Section
from snrlab.core.errors import UserError


class DataConfig(Section):
    """[data]: images and captions."""

    folder: str | None = Field(None, description="Folder of images with .txt or .caption files beside them.")
    shipped: str | None = Field(None, description="Instead of folder: an emoji style that ships with snrlab.")
    resolution: int = Field(
        512, ge=16, le=4096, multiple_of=8, description="Pixels a side; images are scaled and cropped to a square."
    )
    caption: str | None = Field(None, description="Caption of images that have none of their own.")
    caption_dropout: float = Field(0.0, ge=0, le=1, description="Part of the captions replaced by the empty one.")
    shuffle_tags: bool = Field(False, description="Put the comma-separated tags after the first in random order.")
    tag_dropout: float = Field(0.0, ge=0, le=1, description="Part of the tags after the first that is left out.")
    flip: bool = Field(False, description="Mirror images left to right half of the time.")
    limit: int | None = Field(None, ge=1, description="Use only this many images, chosen by the seed.")
    concepts: Literal["all", "known", "held_out"] = Field(
        "all", description="Of a shipped style, all concepts, or without or only those the shipped weights never saw."
    )

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        if (self.folder is None) == (self.shipped is None):
            raise UserError('give either folder = "FOLDER" or shipped = "STYLE".')
        if self.folder is not None and self.concepts != "all":
            raise UserError("concepts chooses among a shipped style's; it means nothing for a folder.")
        return self
