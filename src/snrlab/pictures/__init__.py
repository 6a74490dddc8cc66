"""Generated images: the sampler, and grids of them with their parameters."""
