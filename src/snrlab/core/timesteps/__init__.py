"""Timesteps: how often each is drawn (densities), and how the draws of a batch are taken from that."""
