"""XLA's on-disk cache of compiled programs, shared by every process of a store."""

import os
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache


def enable_compilation_cache(directory: Path) -> None:
    """Keep compiled programs in ``directory`` from now on, in this process.

    A directory that ``JAX_COMPILATION_CACHE_DIR`` names wins: several stores may share one.

    Small programs are kept too: a process of the tiny preset compiles dozens of them, seconds in
    all, before its first step.
    """
    target = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(directory.absolute())
    settings = {
        "jax_compilation_cache_dir": target,
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    if all(getattr(jax.config, name) == value for name, value in settings.items()):
        return
    Path(target).mkdir(parents=True, exist_ok=True)
    for name, value in settings.items():
        jax.config.update(name, value)
    # JAX looks at the setting once, at its first compilation, which may be over.
    compilation_cache.reset_cache()
