"""Benchmarks run without shape checks, and say their ratios at the end."""

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each benchmark noted beside its time."""
    session = getattr(terminalreporter.config, "_benchmarksession", None)
    for run in getattr(session, "benchmarks", []):
        notes = ", ".join(f"{name} = {value:.3g}" for name, value in run.extra_info.items())
        terminalreporter.write_line(f"{run.name}: {notes}")
