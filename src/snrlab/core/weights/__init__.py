"""Loss weightings, and the way from them to the weight on the network's own loss."""
