"""Findings: what a user should know about a recipe, graded, with the numbers behind it."""
