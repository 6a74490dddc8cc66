"""Paired studies: which recipe is better, over training seeds. Starts runs as children and reads run folders."""
