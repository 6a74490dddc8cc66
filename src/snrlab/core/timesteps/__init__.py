"""Timesteps: densities (how often each is drawn) and samplings (how the timesteps of a batch are drawn from them)."""
