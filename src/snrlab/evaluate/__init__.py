"""Measuring finished models: generated pictures against true ones, with and without a LoRA."""
