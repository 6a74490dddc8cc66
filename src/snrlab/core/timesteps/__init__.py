"""Timesteps: densities (how often each is drawn) and samplings (how the timesteps of a batch are drawn from them)."""

from snrlab.core.timesteps import peer_densities as _peer_densities  # noqa: F401  (registers its entries)
