"""Artifacts, manifests, the store and ancestry."""
