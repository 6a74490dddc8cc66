"""Registries of strategies, the parameters of their functions, and the papers they come from."""
