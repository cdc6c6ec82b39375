"""Settings that every experiment asks of JAX before its first computation."""

import os
import warnings

import jax

from simbyz.data.cache import cache_folder


def prepare_devices(*, keep_programs: bool = True) -> None:
    """One CPU device a core, so that runs spread over them; compiled programs kept between
    starts, if wanted, in the folder that JAX was told (JAX_COMPILATION_CACHE_DIR) or in ours.

    A warning where JAX has begun with other devices, as in a notebook that computed before.
    """
    try:
        jax.config.update("jax_num_cpu_devices", cores())
    except RuntimeError:
        warnings.warn(
            f"JAX has begun with {jax.device_count()} of what may be {cores()} devices: restart "
            "Python, and call this before anything is computed, to use all cores",
            RuntimeWarning,
            stacklevel=2,
        )
    if not keep_programs or os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    try:
        folder = cache_folder()
    except OSError as error:
        warnings.warn(f"{error}; compiled programs are not kept", RuntimeWarning, stacklevel=2)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def cores() -> int:
    """Those of this process, fewer in a container or under taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
