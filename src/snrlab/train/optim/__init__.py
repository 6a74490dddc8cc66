"""Optimizers: the registry, which weights they train at which rate, and their state."""
