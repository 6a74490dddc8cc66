"""Names of tensors in the layouts of other programs, and the rules between them."""
