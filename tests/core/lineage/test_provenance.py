"""Versions in manifests."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from recap_core.lineage.provenance import _version, code_version, library_versions


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout with one package; return the package."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "a.py").write_text("a = 1\n")
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)  # noqa: S603, S607 - fixed
    return package


def test_the_commit_and_local_changes_are_told(checkout: Path) -> None:
    """A commit of 12 digits, and ``.dirty`` once a tracked file differs."""
    clean = code_version(checkout)
    (checkout / "a.py").write_text("a = 2\n")

    assert re.fullmatch(r".*\+g[0-9a-f]{12}", clean)
    assert code_version(checkout) == clean + ".dirty"


def test_a_package_below_somebody_elses_checkout_has_no_commit(checkout: Path) -> None:
    """An environment inside a repository must not borrow its commit."""
    inner = checkout / "site-packages" / "recap_core"
    inner.mkdir(parents=True)

    assert "+g" not in code_version(inner)


def test_without_a_checkout_or_git_there_is_a_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never fails."""
    outside = code_version(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda _: None)

    assert code_version(tmp_path) == outside == (_version("recap") or "unknown")


def test_libraries_are_listed_without_importing_them() -> None:
    """Installed ones with their version; one that is not installed is left out."""
    versions = library_versions()

    assert versions["numpy"][0].isdigit()
    assert _version("no-such-library") is None
