"""XLA's cache on disk."""

from collections.abc import Generator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from recap_core.training.compilation_cache import enable_compilation_cache


@pytest.fixture(autouse=True)
def _cache_of_all_tests() -> Generator[None]:
    """Afterwards, the cache is what it was before."""
    before = Path(str(jax.config.jax_compilation_cache_dir))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        yield
        enable_compilation_cache(before)


def compiled(directory: Path) -> None:
    """A program that is in no cache, compiled under that directory's cache."""
    enable_compilation_cache(directory)
    number = float(sum(str(directory).encode()))
    jax.block_until_ready(jax.jit(lambda x: 3 * x + number)(jnp.ones(5)))


def test_compiled_programs_are_kept_on_disk(tmp_path: Path) -> None:
    """A program, however small, leaves a file in the directory, which is made if need be."""
    compiled(tmp_path / "cache" / "xla")

    assert list((tmp_path / "cache" / "xla").iterdir())


def test_a_directory_that_the_environment_names_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several stores may share one."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "shared"))

    compiled(tmp_path / "cache" / "xla")

    assert list((tmp_path / "shared").iterdir())
    assert not (tmp_path / "cache").exists()
