"""Plots and self-contained HTML from artifacts."""
