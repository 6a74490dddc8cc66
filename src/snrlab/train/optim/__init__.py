"""Optimizers: the registry, the trained weights and their learning rates, and the optimizer's state."""
