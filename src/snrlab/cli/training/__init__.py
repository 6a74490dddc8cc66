"""Commands that train, and that draw from and measure what was trained."""
