"""Verdicts: the point of a recipe in one to three sentences, and what to do, computed from its tables and findings."""
