"""XLA's on-disk cache of compiled programs, shared by every process of a store."""

from pathlib import Path

import jax


def enable_compilation_cache(directory: Path) -> None:
    """Keep compiled programs in ``directory`` from now on, in this process.

    Small programs are kept too: a process of the tiny preset compiles dozens of them, seconds in
    all, before its first step.
    """
    directory.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(directory.absolute()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
