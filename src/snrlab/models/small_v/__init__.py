"""The v-prediction, zero-terminal-SNR twin of the small model, in diffusers layout; it shares all but the UNet."""
