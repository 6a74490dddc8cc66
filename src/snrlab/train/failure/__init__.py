"""Failures of a run: error messages for users and bug reports for developers."""
