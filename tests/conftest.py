"""Settings for all tests, made before any JAX backend starts."""

import jax

# A forgotten worker axis, (d,) + (h, d), raises instead of broadcasting.
jax.config.update("jax_numpy_rank_promotion", "raise")
# Sweeps over devices run on the CPU too.
jax.config.update("jax_num_cpu_devices", 2)
