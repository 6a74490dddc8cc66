"""Configuration of a run: one strict schema, with strategy fields derived from the registries."""

from snrlab.config.load import apply_overrides, dump, parse_run, read_run
from snrlab.config.run import RunConfig

__all__ = ["RunConfig", "apply_overrides", "dump", "parse_run", "read_run"]
