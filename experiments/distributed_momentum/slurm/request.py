"""A grid's request to a cluster, checked and as submitit takes it."""

import dataclasses
import re
import shutil
from typing import Any

from experiments.distributed_momentum.options.grid import Slurm

# Options of sbatch that are set here or by submitit: what reads the jobs back counts on them.
SET_HERE = set(
    "array cpus-per-task error gpus-per-node job-name mem nodes ntasks-per-node open-mode output "
    "partition requeue signal time".split()
)


def check_request(request: Slurm) -> None:
    """Checks beyond the ranges of single options.

    Raises:
      ValueError: an option goes with another launcher, or can't be one of sbatch.
    """
    if request.launcher == "local":
        for field in dataclasses.fields(Slurm):
            if getattr(request, field.name) != field.default:
                option = field.name.replace("_", "-")
                raise ValueError(f"--{option} is for a cluster: it needs --launcher slurm")
    if re.search(r"\s", request.partition):
        raise ValueError(f"--partition must be a name without blanks, got {request.partition!r}")
    for option in request.sbatch:
        name, equals, _ = option.partition("=")
        if not equals or not re.fullmatch(r"[a-z][a-z-]*", name):
            raise ValueError(f"--sbatch takes name=value, such as account=lab, got {option!r}")
        if name in SET_HERE:
            raise ValueError(f"--sbatch can't set {name}, which this command sets by itself")


def parameters(request: Slurm) -> dict[str, Any]:
    """The request as submitit's executor for Slurm takes it."""
    more = dict(option.split("=", 1) for option in request.sbatch)
    return {
        "time": request.time,
        "mem": f"{max(1, round(1024 * request.memory))}MB",
        "cpus_per_task": request.cpus,
        "array_parallelism": request.jobs_at_once,
        # After a preemption or the loss of a node, Slurm itself starts the job again.
        "additional_parameters": more | {"requeue": True},
        **({"partition": request.partition} if request.partition else {}),
        **({"gpus_per_node": request.gpus} if request.gpus else {}),
    }


def require_slurm() -> Any:
    """The module submitit.

    Raises:
      ValueError: it is not installed, or this machine has no Slurm.
    """
    try:
        import submitit
    except ImportError as error:
        raise ValueError(
            "--launcher slurm needs submitit: python -m pip install 'simbyz[slurm]'"
        ) from error
    if missing := [name for name in ("sbatch", "srun", "squeue") if shutil.which(name) is None]:
        raise ValueError(
            f"--launcher slurm needs Slurm's {', '.join(missing)}, not found on the PATH: "
            "start it on a node of the cluster that submits jobs"
        )
    return submitit
