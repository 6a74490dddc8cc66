"""Checks before the first step: memory, disk, settings, and a rehearsal of the run."""
