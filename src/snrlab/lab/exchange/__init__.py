"""Settings of other trainers as a run file of ours, and the other way: each value with where it came from."""
