"""Prefect flows: order, branches and loops over tasks."""
