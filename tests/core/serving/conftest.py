"""One tiny policy for all tests of serving."""

from collections.abc import Generator
from pathlib import Path

import pytest

from recap_core.serving.host import PolicyHost, ServedPolicy
from tests.core.serving import tiny


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy directory."""
    return tiny.write_checkpoint(tmp_path_factory.mktemp("tiny") / "policy")


@pytest.fixture(scope="session")
def tiny_policy(tiny_checkpoint: Path) -> ServedPolicy:
    """The policy of that directory, compiled."""
    return tiny.served(tiny_checkpoint)


@pytest.fixture
def server(tiny_policy: ServedPolicy) -> Generator[tiny.Running]:
    """A server of that policy."""
    with tiny.running(PolicyHost(tiny_policy)) as running:
        yield running
