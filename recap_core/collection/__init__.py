"""Session and episode lifecycle, and the raw-episode recorder."""
