"""One training loop for both models."""
