"""Which code and which libraries made an artifact."""

import importlib.metadata
import shutil
import subprocess
from pathlib import Path

LIBRARIES = (
    "av", "flax", "gym-aloha", "jax", "jaxlib", "lerobot", "mujoco", "numpy", "optax",
    "orbax-checkpoint", "pillow", "prefect", "pyarrow", "pydantic", "scipy", "sentencepiece",
    "torch", "xxhash",
)  # fmt: skip
"""Libraries whose version can change a result."""


def code_version(package: Path) -> str:
    """Version of this package and, in a git checkout, its commit: ``0.1.0+g1a2b3c4d5e6f``.

    Args:
        package: Directory of the package, directly below the root of the checkout.

    Returns:
        ``.dirty`` is appended if tracked files of the checkout differ from the commit. Without git,
        or outside a checkout of this very package, it is the version alone.
    """
    version = _version("recap") or "unknown"
    found = _git(package, "rev-parse", "--show-toplevel", "HEAD")
    if found is None:
        return version
    root, commit = found.splitlines()
    if Path(root).resolve() != package.resolve().parent:
        return version  # installed below somebody else's checkout
    dirty = ".dirty" if _git(package, "status", "--porcelain", "--untracked-files=no") else ""
    return f"{version}+g{commit[:12]}{dirty}"


def library_versions() -> dict[str, str]:
    """Versions of the installed libraries that can change a result; nothing is imported."""
    versions = {name: _version(name) for name in LIBRARIES}
    return {name: version for name, version in versions.items() if version}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(directory: Path, *arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            [git, "-C", str(directory), *arguments],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
