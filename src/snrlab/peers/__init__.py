"""Settings of other trainers: what they mean there, and the way to our run files and back."""
