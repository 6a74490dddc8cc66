"""Conversion between OneTrainer's configuration and our run files."""
