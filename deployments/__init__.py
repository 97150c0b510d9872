"""Flows bound to a server, schedules and the command line."""
