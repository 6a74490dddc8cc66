"""How captions become embeddings: one rule for training, validation and sampling."""

from __future__ import annotations

from dataclasses import dataclass

_CHUNK = 75  # tokens of a caption in one CLIP sequence, not counting its start and end token


@dataclass(frozen=True)
class EncodeRule:
    """Settings by which captions become embeddings.

    Attributes:
        clip_skip: 1 is the text encoder's last layer, N the N-th last, through the final layer norm (kohya's counting);
            None is the family's own: the last layer (SD 1.5, and SD 2, whose encoder ends at CLIP's second last), or
            for SDXL the second last of both encoders without the norm.
        max_tokens: 75, 150 or 225; more than 75 are encoded in chunks, each with its own start and end token.
        weighted: whether `(word:1.3)` in a caption weights words; otherwise it is plain text.
    """

    clip_skip: int | None = None
    max_tokens: int = _CHUNK
    weighted: bool = False

    @property
    def chunks(self) -> int:
        """Number of chunks that a caption is encoded in."""
        return self.max_tokens // _CHUNK


PLAIN_RULE = EncodeRule()
