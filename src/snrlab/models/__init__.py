"""Stable Diffusion models: loading, adapters, files that other programs read."""
