"""The sections of the run file, one module each."""
