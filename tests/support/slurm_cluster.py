"""A real Slurm of one node on the loopback, with its own munge and nothing of the machine's."""

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
CONFIGURATION = """
ClusterName=loopback
SlurmctldHost=localhost
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=100000,bf_interval=1
KillWait=2
ReturnToService=2
GresTypes=gpu
NodeName=localhost CPUs={cpus} RealMemory=4000 Gres=gpu:1
PartitionName=all Nodes=ALL Default=YES State=UP
"""


def missing() -> list[str]:
    """The programs that this machine lacks (on Debian: slurm-wlm, munge)."""
    path = os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


@contextlib.contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """The environment in which Slurm's commands talk to the cluster, which ends with the block.

    Raises:
      TimeoutError: the node does not come up; its daemons' logs are in the message.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # a socket's path must be short
    environment = dict(os.environ, SLURM_CONF=str(folder / "slurm.conf"))
    environment["PATH"] += ":/usr/sbin:/usr/local/sbin"
    daemons: list[subprocess.Popen] = []

    def start(*command: str) -> None:
        with open(folder / f"{command[0]}.log", "w") as log:
            daemons.append(
                subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            )

    try:
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        text = CONFIGURATION.format(
            folder=folder, user=getpass.getuser(), ports=free_ports(2), cpus=os.cpu_count()
        )
        (folder / "slurm.conf").write_text(text)
        # A GPU that Slurm hands out, and no program finds.
        (folder / "gres.conf").write_text("AutoDetect=off\nName=gpu File=/dev/null\n")
        files = {"key-file": key, "socket": folder / "munge.socket"}
        files |= {f"{name}-file": folder / f"munge.{name}" for name in ("pid", "log", "seed")}
        options = [f"--{name}={path}" for name, path in files.items()]
        start("munged", "--foreground", "--force", *options)
        until((folder / "munge.socket").exists, 10, "munged")
        start("slurmctld", "-D")
        start("slurmd", "-D", "-N", "localhost")
        try:
            until(lambda: answer(environment, "sinfo", "-h", "-o", "%T") == "idle", 30, "the node")
        except TimeoutError as error:
            logs = "\n".join(path.read_text()[-1500:] for path in folder.glob("*.log"))
            raise TimeoutError(f"{error}:\n{logs}") from None
        yield environment
    finally:
        if len(daemons) == 3:
            answer(environment, "scancel", "--signal=KILL", "--full", f"--user={os.getuid()}")
            answer(environment, "scancel", f"--user={os.getuid()}")
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
        for pid in processes(f"SLURM_CONF={environment['SLURM_CONF']}"):  # what jobs left
            if pid != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def answer(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    return done.stdout.strip()


def processes(*words: str) -> list[int]:
    """Those whose environment and command line hold all the words."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            text = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
            if all(word.encode() in text for word in words):
                found.append(int(folder.name))
    return found


def until(true: Callable[[], object], seconds: float, what: str) -> None:
    """Raises TimeoutError where it takes longer."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
