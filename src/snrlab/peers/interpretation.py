"""Interpretation of settings: the recipe that their trainer follows, and the one that was meant."""

from __future__ import annotations

from snrlab.peers.kohya import interpretation as kohya_meaning
from snrlab.peers.onetrainer import interpretation as onetrainer_meaning
from snrlab.peers.settings import Interpretation, Settings


def interpret(settings: Settings) -> Interpretation:
    """Interpret settings by the rules of the trainer that they are for."""
    if settings.recipe is not None:
        return Interpretation(settings, (), settings.recipe, settings.recipe, settings.findings, (), "snrlab")
    return {"kohya": kohya_meaning.interpret_kohya, "onetrainer": onetrainer_meaning.interpret_onetrainer}[
        settings.trainer
    ](settings)
