"""Inspection of a model or LoRA file: its kind, its contents, and the programs that load it."""
