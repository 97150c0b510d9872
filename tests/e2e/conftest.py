"""The command line as a user runs it, in processes of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

type Recap = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for a module's tests."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def recap_environment(home: Path) -> dict[str, str]:
    """The environment of ``recap``, with XLA as users have it."""
    kept = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    return kept | {"RECAP_HOME": str(home)}


@pytest.fixture(scope="module")
def recap(recap_environment: dict[str, str]) -> Recap:
    """Run ``recap`` and wait for it."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "deployments.cli.main", *arguments],
            check=False,
            capture_output=True,
            text=True,
            env=recap_environment,
        )

    return run


@pytest.fixture
def answer_of() -> Callable[[subprocess.CompletedProcess[str]], dict]:
    """The JSON that a command printed; fails with its messages if it did not succeed."""

    def parse(done: subprocess.CompletedProcess[str]) -> dict:
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return parse
