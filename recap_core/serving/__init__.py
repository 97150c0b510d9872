"""Observation in, action chunk out."""
