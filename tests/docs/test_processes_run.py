"""Every command of the pages that is the work of several processes, and the two scripts for SLURM."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from docs.pages import COMMANDS, Command, blocks
from docs.reader import prepare_data_of, short_run, use_miniatures
from surgvos.cli.train import resolve

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell, signals and process groups")

ALL = list({command.text: command for command in COMMANDS if command.is_of_processes}.values())
SCRIPTS = [script for _, script in blocks("bash") if "#SBATCH" in script]
TRAINING = [command for command in ALL if re.match(r"torchrun |accelerate ", command.text)]
HERE = [command for command in ALL if re.search(r"--(workers|ray local) ", command.text)]
ON_A_CLUSTER = [command for command in ALL if re.match(r"segment .*--ray (?!local)", command.text)]

SAID = "said.txt"
NO_RAY = "Ray is not installed: pip install 'surgvos[ray]'"
PATIENCE_S = 300
"""A busy machine is no failure."""

SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do [[ $1 == -[wx] ]] && shift; shift; done
[[ $1 == ray ]] || export RAY_ADDRESS={address}
exec "$@"
"""
"""SLURM starts a program on each of its nodes: here there is one."""

SLEEP = """#!/bin/bash
until (exec 3<>/dev/tcp/{host}/{port}) 2>/dev/null; do {sleep} 0.2; done
"""
"""Until the cluster is there, which is what scripts sleep for."""


def test_none_is_left_out() -> None:
    of_slurm = [command for command in ALL if command.launcher and command.launcher[0] == "srun"]
    assert {*ALL} == {*of_slurm, *TRAINING, *HERE, *ON_A_CLUSTER}
    assert len(of_slurm) == len(SCRIPTS) == 2


@pytest.fixture
def here(files: Path, tmp_path: Path) -> Path:
    """A folder with two videos and the first mask of each."""
    for name in ("cases", "first_masks"):
        shutil.copytree(files / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("command", HERE, ids=str)
def test_workers_of_this_machine(command: Command, here: Path) -> None:
    if "--ray" in command.words:
        pytest.importorskip("ray", reason=NO_RAY)
    assert "2 of 2 videos" in run([sys.executable, "-m", "surgvos", *command.words], here)


@pytest.mark.parametrize("command", ON_A_CLUSTER, ids=str)
def test_workers_of_a_cluster(command: Command, here: Path) -> None:
    pytest.importorskip("ray", reason=NO_RAY)
    if "ray://head:10001" in command.words and "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("Ray's client can fail beside other clusters of its machine: run without xdist")
    port, client_port = free_ports(2)
    start = f"ray start --head --port={port} --ray-client-server-port={client_port} --num-cpus=2 --block"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with running(shlex.split(start), here, "head.txt", **token):
        for each in (port, client_port):
            run([sleep_until(here, each)], here)
        words = [word.replace("head:10001", f"127.0.0.1:{client_port}") for word in command.words]
        said = run([sys.executable, "-m", "surgvos", *words], here, RAY_ADDRESS=f"127.0.0.1:{port}", **token)
        assert "2 of 2 videos" in said


@pytest.mark.parametrize("command", TRAINING, ids=str)
def test_training(command: Command, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    use_miniatures(weights, monkeypatch)
    launcher = ["--cpu" if word == "--multi_gpu" else word for word in command.launcher]
    said = run([*launcher, "surgvos", *command.words, *in_miniature(command.words, weights)], tmp_path)
    assert said.count("model.safetensors") == 1


@pytest.mark.parametrize("script", SCRIPTS, ids=["segment", "train"])
def test_scripts_for_slurm(script: str, here: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not here is said otherwise: GPUs, the paths of a shared disk, and SLURM itself."""
    if "ray" in script:
        pytest.importorskip("ray", reason=NO_RAY)
    (port,) = free_ports(1)
    monkeypatch.chdir(here)
    use_miniatures(weights, monkeypatch)
    words = next(
        command.words
        for command in ALL
        if command.launcher[:1] == ("srun",) and f"surgvos {command.words[0]} " in script
    )
    more = in_miniature(words, weights) if words[0] == "train" else ["--device", "cpu"]
    changes = {
        "/data/": f"{here}/",
        "--num-gpus=4 --num-cpus=32": "--num-cpus=1",
        "6379": str(port),
        "29500": str(port),
    }
    for old, new in changes.items():
        script = script.replace(old, new)
    (here / "job.sh").write_text(f"{script.rstrip()} {shlex.join(more)}\n")
    write_program(here, "scontrol", "#!/bin/bash\necho 127.0.0.1\n")
    write_program(here, "srun", SRUN.format(address=f"127.0.0.1:{port}"))
    sleep_until(here, port)
    with running(["bash", "job.sh"], here, SLURM_JOB_NODELIST="here", SLURM_NNODES="1", SLURM_JOB_ID="7") as job:
        job.wait(PATIENCE_S)
    said = (here / SAID).read_text()
    assert job.returncode == 0, said
    assert ("2 of 2 videos" if words[0] == "segment" else "model.safetensors") in said


def in_miniature(words: tuple[str, ...], weights: Path) -> list[str]:
    """Prepare the data of a training; returns what makes it short."""
    prepare_data_of(words)
    begin = ["--set", f"init_from={weights / 'sam2.safetensors'}"] if resolve(words[1], []).init_from else []
    return [*short_run(words), *begin, "--device", "cpu"]


# --- programs ------------------------------------------------------------------------------------------------------


def run(words: Sequence[str], folder: Path, **settings: str) -> str:
    """What a program prints, which must end well."""
    with running(words, folder, **settings) as process:
        process.wait(PATIENCE_S)
    said = (folder / SAID).read_text()
    assert process.returncode == 0, said
    return said


@contextmanager
def running(words: Sequence[str], folder: Path, said: str = SAID, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program, with those of this environment and of ``folder/bin`` in reach; whatever it starts ends with it."""
    path = os.pathsep.join((str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]))
    # Ray leaves what it decides about tokens in the environment of the tests.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = inherited | {"PATH": path, "HOME": str(folder), "OMP_NUM_THREADS": "1", **settings}
    with open(folder / said, "w") as output:
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=output, start_new_session=True)
    try:
        yield process
    finally:
        for each in list(psutil.process_iter()):
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getsid(each.pid) == process.pid:
                    each.kill()
        process.wait()


def write_program(folder: Path, name: str, source: str) -> str:
    program = folder / "bin" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(source)
    program.chmod(0o755)
    return str(program)


def sleep_until(folder: Path, port: int) -> str:
    """A program that stands for ``sleep``: it waits until somebody listens at a port."""
    return write_program(folder, "sleep", SLEEP.format(host="127.0.0.1", port=port, sleep=shutil.which("sleep")))


def free_ports(num_ports: int) -> list[int]:
    sockets = [socket.socket() for _ in range(num_ports)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
