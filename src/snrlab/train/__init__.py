"""Training: one step, the loop, resume, telemetry, samples."""
