"""The small model's v-prediction, zero-terminal-SNR twin, in diffusers layout; only the UNet is its own."""
