"""Inspection of a model or LoRA file: what it is, what is in it, which programs load it."""
