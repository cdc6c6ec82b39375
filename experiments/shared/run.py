"""The one runner of all command lines: parse, check, execute; refusals, stops and errors end alike.

An experiment's `command` is a call of `run`, most often by `command_of`, and
`python -m experiments.NAME` a call of `start`.
"""

import contextlib
import gc
import importlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, NoReturn, Protocol

from experiments.shared.options.command_line import parse
from experiments.shared.stopping import Stop, printing_failed, stopping, to_its_reader, unread

CLEAR = "\r\x1b[K"  # back to the start of a terminal's line, and all of it away
# How to go on after a stop, where runs or measurements are files.
KEPT = "what is finished is in {results}; the same command goes on from there"
CHECKPOINTED = (
    "what is finished is in {results}, and what was under way in its checkpoints; "
    "the same command goes on from there"
)
# In the text of an error from a function that compiled code called back.
CALLBACK = "error calling callback: "
# Where runs are not, and tables and pictures are made at the end.
UNKEPT = "its runs are not kept; what was written into {results} is whole"


def run(
    options: Any,
    arguments: Sequence[str] | None,
    name: str,
    description: str | None,
    prepare: Callable[[Any], Any],
    execute: Callable[[Any, Any, Stop], int | None],
    **ending: Any,
) -> int:
    """Run a command to its exit code: see `parse` for the options, their arguments and the name,
    and `run_with` for all else.
    """
    try:
        given = parse(options, arguments, name, description or "")
    except ValueError as error:
        return _say(f"error: {error}", 2)
    return run_with(given, prepare, execute, **ending)


def run_with(
    given: Any,
    prepare: Callable[[Any], Any],
    execute: Callable[[Any, Any, Stop], int | None],
    *,
    polled: bool = True,
    stopped: str = "nothing was written",
    leave: Callable[[int], int] = lambda code: code,
) -> int:
    """Run what options ask for to its exit code: 0 done, 2 the user's mistake, 130 or 143 stopped
    by SIGINT or SIGTERM, 141 nobody reads its output any more, 1 anything else.

    Args:
      given: an instance of a dataclass of options.
      prepare: options -> what `execute` needs; checks all that can be before the first step, and
        raises a ValueError or OSError, told in one line, before anything is written.
      execute: (options, prepared, stop) -> exit code, None for 0; its OSErrors are told in a line.
      polled: whether `execute` looks at `stop`, until it calls `stop.interrupt` if it has more to
        do then; else a signal interrupts it.
      stopped: what a stop leaves, with the options' values by name; an exception's own text goes
        before it.
      leave: told the exit code where `execute` ends early, and gives it.
    """
    stop = Stop()
    try:
        with stopping(polled=False, stop=stop), _passing("checking, and reading data"):
            prepared = prepare(given)
            if stop():  # what the interrupt met has swallowed it, as callbacks of compiled code do
                raise KeyboardInterrupt
    except BaseException as error:
        return _ended(error, stop, stop(), "nothing was begun", 2, (ValueError, OSError))
    try:
        with stopping(polled=polled, stop=stop):
            code = execute(given, prepared, stop) or 0
            if not code and stop():  # after it had looked for the last time
                raise KeyboardInterrupt
            return code
    except BaseException as error:
        left = stopped.format(**vars(given))
        return leave(_ended(error, stop, stop() and not stop.polled, left, 1, (OSError,)))


class Command(Protocol):
    """The command line of an experiment: arguments, sys.argv if None, to an exit code."""

    def __call__(self, arguments: Sequence[str] | None = None) -> int: ...


def command_of(options: ModuleType, stopped: str = "nothing was written") -> Command:
    """The `command` of an experiment `experiments.NAME` whose study is one module.

    Args:
      options: the module of its `Options`, whose text is that of --help; beside it lies `study`,
        with `prepare` and `execute`, which is imported when called.
      stopped: see `run_with`.
    """
    package, _, _ = options.__name__.rpartition(".")
    name, study = package.rpartition(".")[2], f"{package}.study"

    def command(arguments: Sequence[str] | None = None) -> int:
        """The command line: see `run_with` for exit codes."""
        prepare, execute = late(study, "prepare"), late(study, "execute")
        return run(
            options.Options, arguments, name, options.__doc__, prepare, execute, stopped=stopped
        )

    return command


def late(module: str, name: str) -> Callable[..., Any]:
    """A function whose module is imported when it is called: --help needs nothing that computes."""

    def call(*arguments: Any, **named: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*arguments, **named)

    return call


def start(command: Callable[[], int], devices: Callable[[], None] | None = None) -> NoReturn:
    """Run a command as the program that was started, and exit.

    devices: called before, for what JAX has to be told; `prepare_devices` if None.
    """
    if devices is None:
        devices = late("experiments.shared.devices", "prepare_devices")
    print_plain_warnings()
    # Tracing makes many objects that no circle holds: see "The small comparison" in docs/speed.md.
    gc.set_threshold(50_000, 20, 100)
    if not {"-h", "--help"} & set(sys.argv):
        devices()
    with _passing(""):
        pass  # clears what `experiments` says while Python imports
    code = to_its_reader(command)
    # CPython notes an interrupt within the exec of a text, as dataclasses have, and would end the
    # process by SIGINT instead; the next exec of a text clears the note.
    exec("")
    sys.exit(code)


def print_plain_warnings() -> None:
    """Warnings of files and checkpoints on one line, without the place in the program, and once,
    however many parts of a command meet the file; other warnings stay as they are.
    """
    usual, told = warnings.formatwarning, set()

    def formatted(message, category, *place, **more):
        if category is RuntimeWarning:
            line = f"warning: {message}\n"
            again = line in told
            told.add(line)
            start = CLEAR if sys.stderr.isatty() else ""  # over what stands there for a while
            return "" if again else start + line
        return usual(message, category, *place, **more)

    warnings.formatwarning = formatted
    # What TensorFlow Datasets has to say of a folder comes as an error of ours, too.
    logging.getLogger("absl").setLevel(logging.ERROR)


def _ended(
    error: BaseException,
    stop: Stop,
    interrupted: bool,
    left: str,
    code: int,
    told: tuple[type[Exception], ...],
) -> int:
    """Say in a line how what raised the error ended, and return the exit code.

    Args:
      error: raised again if it is neither a stop nor told.
      stop: which signal came.
      interrupted: any error is the stop's: decoders and compilers make their own of an interrupt.
      left: by a stop that says nothing itself.
      code: of an error that is told.
      told: errors that are told in a line.
    """
    if interrupted or isinstance(error, KeyboardInterrupt):
        own = str(error) if isinstance(error, KeyboardInterrupt) else ""
        return _say(f"stopped: {own or left}", stop.exit_code)
    if isinstance(error, BrokenPipeError):
        return unread()
    if isinstance(error, told) and not printing_failed(error):  # `start` tells of that
        return _say(f"error: {_words(error)}", code)
    if CALLBACK in str(error):
        return _say(f"error: {_behind_a_callback(error)}", 1)
    raise error


def _words(error: BaseException) -> str:
    """An error's text; of one that the system raised the file's name and the reason alone."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _behind_a_callback(error: BaseException) -> str:
    """What a function raised that compiled code called back, and where; JAX told the rest."""
    # JAX would tell of it twice more when Python ends.
    with contextlib.suppress(ImportError, AttributeError):  # other versions
        from jax._src.dispatch import runtime_tokens

        runtime_tokens.clear()
    where, _, words = str(error).strip().rpartition("\n  File ")[2].partition("\n")
    return f"{' '.join(words.split())} ({where})"


@contextlib.contextmanager
def _passing(text: str) -> Iterator[None]:
    """In a terminal, a line that stands there while something goes on that tells nothing itself."""
    shown = sys.stderr.isatty()
    if shown:
        print(f"{CLEAR}{text}", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if shown:
            print(CLEAR, end="", file=sys.stderr, flush=True)


def _say(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code
