"""Loss weightings, and the way from them to the weight on the network's own loss."""

from snrlab.core.weights import peer_weightings as _peer_weightings  # noqa: F401  (registers its entries)
