"""Targets, advantages, thresholds and the adv_ind rule: pure NumPy."""
