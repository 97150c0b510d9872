"""Dataset or wire observation to model input, and back."""
