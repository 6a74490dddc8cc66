"""Configuration of a run: one strict schema, with strategy fields derived from the registries."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snrlab.config.load import apply_overrides, dump, parse_run, read_run
    from snrlab.config.run import RunConfig

__all__ = ["RunConfig", "apply_overrides", "dump", "parse_run", "read_run"]


def __getattr__(name: str) -> Any:
    """Import the schema when it is asked for: building it takes an eighth of a second, and most answers need none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{'run' if name == 'RunConfig' else 'load'}"), name)
    globals()[name] = value
    return value
