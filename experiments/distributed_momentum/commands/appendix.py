"""The appendix: the runs asked for, of a Wide-ResNet on CIFAR-10."""

from experiments.distributed_momentum.grid.cells import cells
from experiments.distributed_momentum.grid.programs import Run
from experiments.distributed_momentum.grid.settings import APPENDIX
from experiments.distributed_momentum.options.appendix import Options
from experiments.distributed_momentum.running.work import Prepared, carry_out, prepare_work
from experiments.shared.options.checks import LARGEST, check_batch_size, check_options

TRAINING_IMAGES = 50_000  # of CIFAR-10


def select(options: Options) -> list[Run]:
    """The runs asked for.

    Raises:
      ValueError: what is wrong and what is allowed, in one line.
    """
    check_options(options, "attack", "momentum_at")
    if unknown := set(options.f) - set(APPENDIX.f):
        raise ValueError(f"the appendix has --f 4 and --f 2, got {min(unknown)}")
    depth, width = options.depth, options.width
    if depth is not None and (depth < 10 or depth % 6 != 4):
        raise ValueError(f"depth must be 10, 16, 22, 28 ..., got {depth}")
    _refuse_large(depth or APPENDIX.depth, width or APPENDIX.width)
    if options.batch_size is not None:
        check_batch_size(options.batch_size, TRAINING_IMAGES, "cifar10")
    chosen = cells(
        "cifar10",
        attacks=options.attack,
        places=options.momentum_at,
        nesterov=(True,),
        f=options.f or None,
        conventions=options.conventions,
        own=APPENDIX,
        depth=depth,
        width=width,
        batch_size=options.batch_size,
        steps=options.steps,
    )
    chosen = [
        cell
        for cell in chosen
        if not options.rule or cell.attack == "none" or cell.rule in options.rule
    ]
    if set(options.attack) != {"none"} and all(cell.attack == "none" for cell in chosen):
        raise ValueError(f"the appendix has no {options.rule[0]} with --f {options.f[0]}")
    return [Run(cell, seed) for cell in chosen for seed in options.seeds]


def _refuse_large(depth: int, width: int) -> None:
    """Raises ValueError if the last convolutions alone are more than a program can hold: to count
    all parameters takes longer than anybody waits.
    """
    least = 9 * (64 * width) ** 2 * (2 * (depth - 4) // 6 - 1)
    if least > LARGEST:
        raise ValueError(
            f"a network of depth {depth} and width {width} has more than {least:.1e} parameters, "
            f"of which a program holds 2^31 - 1 = {LARGEST}: take a smaller one"
        )


def prepare(options: Options) -> Prepared:
    """The plan of what there is to do, checked; see `prepare_work`."""
    return prepare_work(options, select(options))


execute = carry_out
