"""Kohya's dataset TOML."""
