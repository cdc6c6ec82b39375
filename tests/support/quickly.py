"""Whatever is compiled, compiled in less than half the time, by the cheap generator of code.

For what runs whole experiments, whose programs no test has in its hands; `quick_jit` in
`tests/support/compiled.py` does the same to one function. Two programs that give a user the same
bits need not under it: that is for the longer checks, which it leaves alone.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import pytest

from tests.support.compiled import QUICK

FLAGS = " ".join(f"--{name}={str(value).lower()}" for name, value in (QUICK or {}).items())
if QUICK is not None:  # other versions may have it elsewhere
    from jax._src import compiler

    _usual_options = compiler.get_compile_options


def _quick_options(*arguments, env_options_overrides=None, **others):
    options = QUICK | (env_options_overrides or {})
    return _usual_options(*arguments, env_options_overrides=options, **others)


@contextmanager
def quickly_compiled() -> Iterator[None]:
    """Programs made inside, here and in processes started from here, come from the cheap generator
    where few optimisations are asked for, as in all but the longer checks.
    """
    if QUICK is None or not jax.config.read("jax_disable_most_optimizations"):
        yield
        return
    jax.devices()  # XLA has read the environment by now, and does not again
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "get_compile_options", _quick_options)
        patch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}".strip())
        yield


@contextmanager
def compiled_as_usual() -> Iterator[None]:
    """Programs made inside are not: the cheap generator repeats what lanes share, and over some
    rules' lanes does not come to an end.
    """
    if QUICK is None:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "get_compile_options", _usual_options)
        yield
