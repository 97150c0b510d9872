"""V(o_t) for whole datasets, and how far to trust it."""
