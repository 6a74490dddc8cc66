"""Commands for settings and models of other programs."""
