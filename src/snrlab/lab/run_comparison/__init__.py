"""Finished runs compared: held-out loss by noise level with intervals, settings that differ, and a verdict."""
