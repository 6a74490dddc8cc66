"""Loading and saving models as single files and as diffusers folders."""
