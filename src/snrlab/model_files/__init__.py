"""What a model file says about itself; read without torch and before any weights."""
