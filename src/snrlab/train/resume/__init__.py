"""Starting, stopping and continuing a run: checkpoints and what must not have changed."""
