"""What a run writes: logs, validation, sample images, trackers, the result."""
