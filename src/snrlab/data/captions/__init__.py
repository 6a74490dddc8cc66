"""Captions: reading caption files, and changing captions at a training step."""
