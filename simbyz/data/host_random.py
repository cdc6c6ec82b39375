"""Random numbers on the host, for what is made once before anything is compiled."""

import jax
import numpy as np

from simbyz._arrays.calling import require_key


def generator(key: jax.Array) -> np.random.Generator:
    """A NumPy generator seeded by a key: float64, and the same numbers whatever the device.

    Raises:
      TypeError: the key is traced, or no key.
    """
    if isinstance(key, jax.core.Tracer):
        raise TypeError("this is made once on the host, from a key: call it outside jit and vmap")
    require_key(key)
    data = np.asarray(jax.random.key_data(key))
    if data.ndim != 1:
        raise TypeError(f"key must be one jax.random.key, got {data.shape[:-1]} of them")
    return np.random.default_rng(data)
