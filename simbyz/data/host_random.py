"""Random numbers on the host, for what is made once before anything is compiled."""

import jax
import numpy as np

from simbyz._arrays.checks import random_key


def generator(key: jax.Array, what: str = "a partition") -> np.random.Generator:
    """A NumPy generator seeded by a key: float64, and the same numbers whatever the device.

    what: it is for, in the error.

    Raises:
      TypeError: the key is traced, or no key.
    """
    if isinstance(key, jax.core.Tracer):
        raise TypeError("this is made once on the host, from a key: call it outside jit and vmap")
    random_key(what, key)
    with jax.ensure_compile_time_eval():  # within a trace of something else, too
        return np.random.default_rng(np.asarray(jax.random.key_data(key)))
