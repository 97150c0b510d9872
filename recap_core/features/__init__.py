"""Frozen-encoder passes and their cache, shared by value training and value inference."""
