"""Caption options: what a caption becomes at a training step, for a whole run or one set of images."""

from __future__ import annotations

from pydantic import Field

from snrlab.config.sections.section import Section

MOVES_TAGS = ("shuffle_tags", "tag_dropout", "token_warmup_steps")  # options that take captions apart into tags
VARIES = ("wildcards", *MOVES_TAGS)  # options that make another text of a caption at other steps


class CaptionOptions(Section):
    """Options of what a caption becomes at a training step: the one list of them.

    Sets of images, dataset TOMLs, other trainers' files and the metadata of a LoRA file follow from these fields and
    from the row of `kohya.csv` that names a field.
    """

    caption_prefix: str = Field("", description="Text before each caption.")
    caption_suffix: str = Field("", description="Text after each caption.")
    caption_separator: str = Field(",", min_length=1, description="What is between the tags of a caption.")
    secondary_separator: str | None = Field(
        None, min_length=1, description="Joins tags that stay together; it becomes caption_separator at the end."
    )
    wildcards: bool = Field(
        False,
        description="Lines of a caption file are alternatives, and so are the parts of {a|b}, drawn at each step.",
    )
    shuffle_tags: bool = Field(False, description="Put the tags after the first keep_tokens in random order.")
    keep_tokens: int = Field(
        1, ge=0, description="Tags at the start that neither shuffle_tags nor tag_dropout touch (kohya's default is 0)."
    )
    keep_tokens_separator: str | None = Field(
        None, min_length=1, description="Instead of keep_tokens where a caption has it: what ends the tags that stay."
    )
    caption_dropout: float = Field(0.0, ge=0, le=1, description="Part of the captions replaced by the empty one.")
    caption_dropout_every_n_epochs: int = Field(
        0, ge=0, description="Epochs between those in which all captions are empty; 0 is none."
    )
    tag_dropout: float = Field(
        0.0, ge=0, le=1, description="Part of the tags after the first keep_tokens that is left out."
    )
    token_warmup_steps: float = Field(
        0, ge=0, description="Steps until captions have all their tags; below 1 a part of the run, 0 is off."
    )
    token_warmup_min: int = Field(1, ge=0, description="Tags after the first keep_tokens at the start of the warm-up.")

    @property
    def moves_tags(self) -> bool:
        """Whether captions are taken apart into tags."""
        return any(getattr(self, name) > 0 for name in MOVES_TAGS)

    @property
    def varies(self) -> bool:
        """Whether a caption is another text at other steps (dropping it whole does not count)."""
        return any(getattr(self, name) > 0 for name in VARIES)

    @property
    def fixed(self) -> CaptionOptions:
        """The same without the options that make a caption vary."""
        return self.model_copy(update={name: CaptionOptions.model_fields[name].default for name in VARIES})
