"""Captions: the files they are read from, and what becomes of them at a training step."""
