"""Generated pictures: requests, sampling, and grids with their parameters."""
