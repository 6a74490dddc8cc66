"""Loading and saving models, in single files and in diffusers folders."""
