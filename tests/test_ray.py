"""Suites on a Ray cluster of this machine: the same trials, and the same answers to whatever is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastbat.files import read_records
from fastbat.training import Run

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'fastbat[cluster]'")

SUITE = """
[train]
dataset = "digits"
width = 2
epochs = 30
train_limit = 50
select_limit = 10
select_steps = 1
method = "fast-at"
eps = 30
seed = [0, 1]
[evaluate]
attacks = "clean,fgsm"
limit = 10
"""
COMMAND = (sys.executable, "-m", "fastbat", "suite", "run", "table.toml", "--out", "out", "--engine", "ray")


def start(folder):
    """Start the suite on a Ray of its own, in a session of its own."""
    (folder / "table.toml").write_text(SUITE)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.Popen(
        COMMAND, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def begun(folder, child):
    """Wait until the first trial has two epochs, and return the process that trains it."""
    run = Run(folder / "out" / "fast-at-seed0")
    while len(read_records(run.metrics)) < 2:
        assert child.poll() is None, child.stderr.read()
        time.sleep(0.02)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if "fastbat.suite.child" in words and any(str(run.path) in word for word in words):
            return int(process.name)
    pytest.fail("nobody trains it")


def parent(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def ended(process):
    """Wait until a process has gone, or is nobody's any more."""
    for _ in range(1000):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def goes_on(folder):
    """Run the suite again, and check that it resumes what was begun and makes nothing twice."""
    out = folder / "out"
    child = start(folder)
    said = child.communicate()[1]
    assert child.returncode == 0, said
    records = {record["trial"]: record for record in read_records(out / "results.jsonl")}
    assert {name: record["status"] for name, record in records.items()} == {
        "fast-at-seed0": "finished", "fast-at-seed1": "finished",
    }  # fmt: skip
    for name in records:
        assert [epoch["epoch"] for epoch in read_records(Run(out / name).metrics)] == list(range(1, 31))
        assert len(read_records(Run(out / name).evaluations)) == 1
    assert "--resume" in (out / "fast-at-seed0.log").read_text()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are found in /proc")
def test_where_a_worker_is_killed_its_trial_fails_alone_and_the_second_call_resumes_it(tmp_path):
    child = start(tmp_path)
    training = begun(tmp_path, child)
    os.kill(parent(training), signal.SIGKILL)
    said = child.communicate()[1]
    assert child.returncode == 1, said
    assert ended(training)
    last = {record["trial"]: record["status"] for record in read_records(tmp_path / "out" / "results.jsonl")}
    assert last == {"fast-at-seed0": "failed", "fast-at-seed1": "finished"}
    assert "fast-at-seed0: failed: " in said
    goes_on(tmp_path)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are found in /proc")
def test_where_the_driver_is_killed_its_trials_end_and_the_second_call_resumes_them(tmp_path):
    child = start(tmp_path)
    training = begun(tmp_path, child)
    child.kill()
    child.communicate()
    assert ended(training)
    assert not read_records(tmp_path / "out" / "results.jsonl")
    goes_on(tmp_path)


def test_a_cluster_that_was_there_is_not_stopped(tmp_path):
    there = ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        (tmp_path / "table.toml").write_text(
            SUITE.replace("seed = [0, 1]", "seed = 0").replace("epochs = 30", "epochs = 1")
        )
        address = there.address_info["address"]
        done = subprocess.run([*COMMAND, "--address", address], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert ray.is_initialized()
        assert ray.get(ray.remote(lambda: 7).remote()) == 7
    finally:
        ray.shutdown()
