"""Settings for all tests, made before any JAX backend starts."""

import signal

import jax
import jaxtyping
import pytest

# A run of the tests in the background ignores Ctrl-C, and what it starts would too.
signal.signal(signal.SIGINT, signal.default_int_handler)
# A forgotten worker axis, (d,) + (h, d), raises instead of broadcasting.
jax.config.update("jax_numpy_rank_promotion", "raise")
# Sweeps over devices run on the CPU too.
jax.config.update("jax_num_cpu_devices", 2)
# The types and shapes in the signatures of rules and attacks are checked at every call.
jaxtyping.install_import_hook(
    ["simbyz.aggregators", "simbyz.preaggregators", "simbyz.attacks"], "beartype.beartype"
)


@pytest.fixture
def unchecked_shapes():
    """For tests that pass what no signature allows, to see the function's own answer."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
