"""Run folders: their files, logs, locks and changes; readable without torch."""
