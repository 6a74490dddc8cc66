"""One training step: its random numbers, its noise, its loss."""
