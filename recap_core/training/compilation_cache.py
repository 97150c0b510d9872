"""XLA's on-disk cache of compiled programs, shared by every process of a store."""

from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache


def enable_compilation_cache(directory: Path) -> None:
    """Keep compiled programs in ``directory`` from now on, in this process.

    Small programs are kept too: a process of the tiny preset compiles dozens of them, seconds in
    all, before its first step.
    """
    target = str(directory.absolute())
    if jax.config.jax_compilation_cache_dir == target:
        return
    directory.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", target)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # JAX looks at the setting once, at its first compilation, which may be over.
    compilation_cache.reset_cache()
