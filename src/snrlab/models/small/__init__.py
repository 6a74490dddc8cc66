"""The small model: a real Stable Diffusion architecture, sized for two cores and 64 px pictures."""
