"""How captions become embeddings: the same rule while training, validating and sampling."""

from __future__ import annotations

from dataclasses import dataclass

_CHUNK = 75  # tokens of a caption that CLIP takes at once, beside the first and the last one


@dataclass(frozen=True)
class EncodeRule:
    """How captions become embeddings.

    Attributes:
        clip_skip: 1 is the text encoder's last layer, N the N-th last, through the final layer norm (kohya's counting);
            None is the family's own: the last layer (SD 1.5, and SD 2, whose encoder ends at CLIP's second last), or
            for SDXL the second last of both encoders without the norm.
        max_tokens: 75, 150 or 225; more than 75 are encoded in chunks, each with a beginning and an end of its own.
        weighted: `(word:1.3)` weighs words in a caption instead of standing for itself.
    """

    clip_skip: int | None = None
    max_tokens: int = _CHUNK
    weighted: bool = False

    @property
    def chunks(self) -> int:
        """Pieces that a caption is encoded in."""
        return self.max_tokens // _CHUNK


PLAIN_RULE = EncodeRule()
