"""Stable Diffusion models: loading, saving, adapters and encoding."""
