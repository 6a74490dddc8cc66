"""Requests for pictures: prompts with size, seed, guidance and steps, from [sample] or kohya's prompt lines."""

from __future__ import annotations

from dataclasses import dataclass

from snrlab.config.prompts import parse_line
from snrlab.config.sections.output import SampleConfig
from snrlab.core.errors import UserError
from snrlab.core.registries.samplers import DEFAULT_SAMPLER


@dataclass(frozen=True)
class SampleRequest:
    """One picture to draw.

    Attributes:
        prompt, negative: the prompt and the negative prompt.
        width, height: size in pixels, multiples of 8.
        seed: seed of the initial noise, and of the noise that some samplers add at each step.
        guidance: classifier-free guidance scale; 1 is none.
        steps: number of sampler steps.
        place: index of the noise within the seed; pictures with one seed but different noise have places 0, 1, 2, ...
        sampler: name of the sampler, a key of SAMPLERS.
    """

    prompt: str
    negative: str = ""
    width: int = 512
    height: int = 512
    seed: int = 0
    guidance: float = 5.0
    steps: int = 25
    place: int = 0
    sampler: str = DEFAULT_SAMPLER

    def __post_init__(self) -> None:
        """Refuse sizes that no pipeline can draw."""
        for name, value in (("width", self.width), ("height", self.height)):
            if value < 8 or value % 8:
                raise UserError(f"sample {name} is {value} pixels; it must be a multiple of 8.", code="wrong-size")


def requests(config: SampleConfig, resolution: int) -> list[SampleRequest]:
    """The requests of a [sample] section: values from the prompt's line, else from the section; else square.

    Each picture has its own noise; lines with the same explicit seed share theirs, as in other programs.
    """
    sample_requests = []
    for place, text in enumerate(config.prompts):
        line = parse_line(text, f"prompt {place + 1}")
        sample_requests.append(
            SampleRequest(
                line.prompt,
                config.negative if line.negative is None else line.negative,
                line.width or resolution,
                line.height or resolution,
                config.seed if line.seed is None else line.seed,
                line.guidance or config.guidance,
                line.steps or config.steps,
                place if line.seed is None else 0,
                line.sampler or config.sampler,
            )
        )
    return sample_requests
