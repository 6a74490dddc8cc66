"""Inputs of training: encoded images and captions, and the order in which steps take them."""
