"""Figures: recipes and runs as graphs, for files, pages and terminals."""
