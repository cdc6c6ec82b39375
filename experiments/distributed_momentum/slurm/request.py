"""What a grid asks of a cluster: the options of `--launcher slurm`."""

import dataclasses
import re
import shutil
from typing import Any, Literal

# Options of sbatch that are set here or by submitit: what reads the jobs back counts on them.
SET_HERE = {
    "array",
    "cpus-per-task",
    "error",
    "gpus-per-node",
    "job-name",
    "mem",
    "nodes",
    "ntasks-per-node",
    "open-mode",
    "output",
    "partition",
    "requeue",
    "signal",
    "time",
}


@dataclasses.dataclass(frozen=True)
class SlurmRequest:
    """Where the grid is run, and what each job on a cluster may use."""

    launcher: Literal["local", "slurm"] = "local"
    """slurm: a job for each compiled program, which this command submits and waits for."""
    partition: str = ""
    """The cluster's own, if empty."""
    time: int = 240
    """Minutes of a job; one that ends before its runs are done goes on in another."""
    memory: float = 8.0
    """GB of a job."""
    gpus: int = 0
    """Of a job, all on one node."""
    cpus: int = 4
    """Of a job."""
    retries: int = 2
    """Times that a failed job is tried again; a job that finished a run did not fail."""
    jobs_at_once: int = 64
    """Jobs that run at the same time, at most."""
    sbatch: tuple[str, ...] = ()
    """More options of sbatch, such as account=lab qos=high."""

    def check(self) -> None:
        """Raises:
        ValueError: a value is out of range, or goes with another launcher.
        """
        if self.launcher == "local":
            for field in dataclasses.fields(self):
                if getattr(self, field.name) != field.default:
                    option = field.name.replace("_", "-")
                    raise ValueError(f"--{option} is for a cluster: it needs --launcher slurm")
        for name, least in (("time", 1), ("cpus", 1), ("jobs_at_once", 1), ("gpus", 0)):
            if getattr(self, name) < least:
                option = name.replace("_", "-")
                raise ValueError(f"--{option} must be at least {least}, got {getattr(self, name)}")
        if self.retries < 0:
            raise ValueError(f"--retries must be at least 0, got {self.retries}")
        if not 0 < self.memory < float("inf"):
            raise ValueError(f"--memory must be a positive number of GB, got {self.memory}")
        if re.search(r"\s", self.partition):
            raise ValueError(f"--partition must be a name without blanks, got {self.partition!r}")
        for option in self.sbatch:
            name, equals, _ = option.partition("=")
            if not equals or not re.fullmatch(r"[a-z][a-z-]*", name):
                raise ValueError(f"--sbatch takes name=value, such as account=lab, got {option!r}")
            if name in SET_HERE:
                raise ValueError(f"--sbatch can't set {name}, which this command sets by itself")

    def parameters(self) -> dict[str, Any]:
        """As submitit's executor for Slurm takes them."""
        more = dict(option.split("=", 1) for option in self.sbatch)
        parameters: dict[str, Any] = {
            "time": self.time,
            "mem": f"{max(1, round(1024 * self.memory))}MB",
            "cpus_per_task": self.cpus,
            "array_parallelism": self.jobs_at_once,
            # After a preemption or the loss of a node, Slurm itself starts the job again.
            "additional_parameters": more | {"requeue": True},
        }
        if self.partition:
            parameters["partition"] = self.partition
        if self.gpus:
            parameters["gpus_per_node"] = self.gpus
        return parameters


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
