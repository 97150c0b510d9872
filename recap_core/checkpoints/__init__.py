"""Orbax checkpoints in openpi's layout."""
