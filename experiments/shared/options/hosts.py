"""Options of an experiment over several processes, and their checks."""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Hosts:
    """The processes of an experiment; without them, this one is alone."""

    coordinator: str | None = None
    """HOST:PORT where process 0 is reached, for several processes; a free port of its host."""
    num_processes: int | None = None
    """How many processes share the work; each is started with the same options."""
    process_id: int | None = None
    """Which of them this is, from 0."""


def check_hosts(hosts: Hosts) -> None:
    """Raises a ValueError unless all three options are given, and fit each other, or none is."""
    values = (hosts.coordinator, hosts.num_processes, hosts.process_id)
    if values == (None, None, None):
        return
    if hosts.coordinator is None or hosts.num_processes is None or hosts.process_id is None:
        given = zip(("--coordinator", "--num-processes", "--process-id"), values, strict=True)
        told = [f"no {name}" if value is None else f"{name} {value}" for name, value in given]
        raise ValueError(
            f"--coordinator, --num-processes and --process-id go together, got {', '.join(told)}"
        )
    port = re.fullmatch(r"(?:[^\s:\[\]]+|\[[0-9a-fA-F:]+\]):([0-9]{1,5})", hosts.coordinator)
    if port is None or not 1 <= int(port[1]) < 2**16:
        raise ValueError(
            f"--coordinator must be HOST:PORT, such as 10.0.0.1:1234, got {hosts.coordinator!r}"
        )
    if hosts.num_processes < 1:
        raise ValueError(f"--num-processes must be at least 1, got {hosts.num_processes}")
    if not 0 <= hosts.process_id < hosts.num_processes:
        raise ValueError(
            f"--process-id must be from 0 to {hosts.num_processes - 1} with --num-processes "
            f"{hosts.num_processes}, got {hosts.process_id}"
        )
