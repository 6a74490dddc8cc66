"""Tensor names in the layouts of other programs, and the rules that map them."""
