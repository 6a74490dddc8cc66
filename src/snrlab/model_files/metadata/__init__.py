"""Metadata that a finished file carries: kohya's `ss_*` keys, `modelspec.*`, and our own."""
