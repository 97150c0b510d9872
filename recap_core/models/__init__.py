"""The policy and the value model in JAX."""
