"""Measures of finished models: generated images against true ones, with and without a LoRA."""
