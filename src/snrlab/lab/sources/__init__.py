"""Settings that people already have: files of other trainers, finished LoRAs, runs of ours."""
