"""Commands that show what settings and files really do."""
