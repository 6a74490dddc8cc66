"""Which images to draw: prompts with their size, seed, guidance and steps, from [sample] or kohya's prompt lines."""

from __future__ import annotations

from dataclasses import dataclass

from snrlab.config.prompts import parse_line
from snrlab.config.sections.output import SampleConfig
from snrlab.core.errors import UserError


@dataclass(frozen=True)
class SampleRequest:
    """One picture to draw.

    Attributes:
        prompt, negative: what it shows and what it does not.
        width, height: in pixels, multiples of 8.
        seed: of the starting noise.
        guidance: classifier-free guidance, 1 is none.
        steps: of the sampler.
        place: which of the noises of that seed; pictures that share a seed and not a noise have places 0, 1, 2, ...
    """

    prompt: str
    negative: str = ""
    width: int = 512
    height: int = 512
    seed: int = 0
    guidance: float = 5.0
    steps: int = 25
    place: int = 0

    def __post_init__(self) -> None:
        """Refuse what no pipeline draws."""
        for name, value in (("width", self.width), ("height", self.height)):
            if value < 8 or value % 8:
                raise UserError(f"sample {name} is {value} pixels; it must be a multiple of 8.", code="wrong-size")


def requests(config: SampleConfig, resolution: int) -> list[SampleRequest]:
    """The pictures of a [sample] section: what a prompt's line says, else what the section says, else square.

    Each has a noise of its own; lines that state the same seed share theirs, as in other programs.
    """
    found = []
    for place, text in enumerate(config.prompts):
        line = parse_line(text, f"prompt {place + 1}")
        found.append(
            SampleRequest(
                line.prompt,
                config.negative if line.negative is None else line.negative,
                line.width or resolution,
                line.height or resolution,
                config.seed if line.seed is None else line.seed,
                line.guidance or config.guidance,
                line.steps or config.steps,
                place if line.seed is None else 0,
            )
        )
    return found
