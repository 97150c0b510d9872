"""XLA's cache on disk."""

from pathlib import Path

import jax
import jax.numpy as jnp

from recap_core.training.compilation_cache import enable_compilation_cache


def test_compiled_programs_are_kept_on_disk(tmp_path: Path) -> None:
    """A program, however small, leaves a file in the directory, which is made if need be."""
    before = str(jax.config.jax_compilation_cache_dir)
    enable_compilation_cache(tmp_path / "cache" / "xla")
    try:
        jax.block_until_ready(jax.jit(lambda x: 3 * x + 17)(jnp.ones(5)))
    finally:
        enable_compilation_cache(Path(before))

    assert list((tmp_path / "cache" / "xla").iterdir())
