"""What settings mean in the program they are for."""

from __future__ import annotations

from snrlab.peers.kohya import meaning as kohya_meaning
from snrlab.peers.onetrainer import meaning as onetrainer_meaning
from snrlab.peers.settings import Interpretation, Settings


def interpret(asked: Settings) -> Interpretation:
    """The recipe that the program follows with these settings, and the one that they were meant for."""
    if asked.recipe is not None:
        return Interpretation(asked, (), asked.recipe, asked.recipe, asked.remarks, (), "snrlab")
    return {"kohya": kohya_meaning.interpret_kohya, "onetrainer": onetrainer_meaning.interpret_onetrainer}[
        asked.trainer
    ](asked)
