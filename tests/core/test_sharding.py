"""Where arrays go on several devices."""
