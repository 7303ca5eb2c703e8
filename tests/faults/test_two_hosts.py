"""Two machines without a common disk: torchrun on each. A process of one dies, then all of it, and it comes back.

They are network namespaces of this one, with names of their own, so that only root can run it. `make faults` does.
"""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from fastbat.cli import main
from fastbat.files import read_records
from fastbat.training import Run
from test_processes import fork
from test_resume import timeless

HOSTS = {"fastbat-a": "10.77.0.1", "fastbat-b": "10.77.0.2"}
MAY = int(os.environ.get("FAULTS", "0")) >= 10 and os.geteuid() == 0 and shutil.which("ip")
DYING = """
import os, signal, sys
from pathlib import Path
from fastbat.cli import main
from fastbat.training import epoch

update = epoch.update


def dying(task, state, batch, step):
    died = Path(f"died {step}")
    if step in (4, 8) and os.environ["RANK"] == "1" and not died.exists():
        died.touch()
        if step == 8:
            os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return update(task, state, batch, step)


epoch.update = dying
main(sys.argv[1:])
"""


@pytest.fixture
def hosts(tmp_path):
    """A folder for each host, which has its name and finds the other by its own."""
    names = list(HOSTS)
    with ExitStack() as scope:
        for name in names:
            if subprocess.run(["ip", "netns", "add", name], check=False).returncode:
                pytest.skip("this machine makes no network namespaces")
            scope.callback(subprocess.run, ["ip", "netns", "delete", name], check=True)
            scope.callback(end_processes, name)
            (tmp_path / name).mkdir()
            (tmp_path / name / "dying.py").write_text(DYING)
        link(names)
        (tmp_path / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{HOSTS[name]} {name}\n" for name in names))
        yield {name: tmp_path / name for name in names}


def link(names):
    """Connect the two by a cable."""
    ends = [*f"link add name cable netns {names[0]} type veth peer name cable netns {names[1]}".split()]
    subprocess.run(["ip", *ends], check=True)
    for name in names:
        for words in (f"address add {HOSTS[name]}/24 dev cable", "link set lo up", "link set cable up"):
            subprocess.run(["ip", "-n", name, *words.split()], check=True)


def end_processes(name):
    """Kill what still runs on a host."""
    running = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=True)
    for number in running.stdout.split():
        os.kill(int(number), signal.SIGKILL)


def start(folder, words):
    """Start torchrun on the host of this folder."""
    name = folder.name
    where = ["ip", "netns", "exec", name, "unshare", "--uts", "--mount", "sh", "-c"]
    where += [f'hostname {name} && mount --bind ../hosts /etc/hosts && exec "$@"', name]
    how = (
        f"--nnodes 2 --nproc-per-node 1 --max-restarts 3 --rdzv-backend c10d --rdzv-endpoint {next(iter(HOSTS))}:29500"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", *how.split()]
    space = os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # docs/guides/several-processes.md says why
    with (folder / "log").open("a") as log:
        command = [*where, *torchrun, "dying.py", *words, "run"]
        return subprocess.Popen(command, cwd=folder, env=space, stderr=log, stdout=log)


@pytest.mark.skipif(not MAY, reason="network namespaces, which root alone can make; make faults")
def test_a_process_dies_and_then_its_host_and_the_result_is_that_of_an_undisturbed_run(hosts, tmp_path):
    few = "--method fast-at --eps 38 --width 4 --train-limit 150 --batch-size 32 --epochs 2 --select-limit 20"
    words = ["train", *few.split(), "--select-steps=1", "--checkpoint-every=2", "--resume", "--out"]
    first, second = hosts.values()
    one, dying = (start(folder, words) for folder in (first, second))
    assert dying.wait(1000) == -signal.SIGKILL
    again = start(second, words)
    assert [one.wait(1000), again.wait(1000)] == [0, 0], (first / "log").read_text()[-3000:]
    fork(2, tmp_path, main, [*words, str(tmp_path / "whole")])
    run, whole = Run(first / "run"), Run(tmp_path / "whole")
    for file in ("last.safetensors", "best.safetensors", "last.ckpt"):
        assert (run.path / file).read_bytes() == (whole.path / file).read_bytes()
    assert timeless(read_records(run.metrics)) == timeless(read_records(whole.metrics))
    assert len(read_records(run.provenance)) == 3
    assert not (second / "run").exists()
