"""Recipes and settings compared: where their effort goes and how far apart it is."""
