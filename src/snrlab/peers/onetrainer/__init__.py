"""OneTrainer."""
