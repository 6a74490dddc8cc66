"""LoRA: adapters on a model, LoRA files, and merging."""
