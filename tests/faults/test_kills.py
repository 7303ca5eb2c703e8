"""SIGKILL at random moments: a training, an evaluation and a suite end as those that nobody touched.

`make test` kills each twice, `make faults` fifty times. What is killed is a process of its own, forked from one that
has imported torch. Moments are uniform over the time that the whole takes.
"""

import multiprocessing
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastbat.audit import evaluate_target
from fastbat.files import load_tensors, read_records
from fastbat.methods import METHODS
from fastbat.training import Run, Settings, train

KILLS = int(os.environ.get("FAULTS", "2"))
TIMES = {"seconds", "select_seconds", "images_per_second", "peak_memory_mib", "time", "started", "ended"}
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["torch", "fastbat.training.train", "fastbat.audit.audit", "fastbat.data.digits"])
SMALL = Settings(epochs=3, width=4, train_limit=300, batch_size=50, select_limit=60, select_steps=4, ema=0.9)


def trained(out):
    """Train ATTA, whose memory is the largest, under the guard; go on with what is there."""
    torch.set_num_threads(1)
    settings = replace(SMALL, on_collapse="rollback", checkpoint_every=2)
    train(METHODS["atta"](eps=0.15), settings, out, resume=True)


def measured(out):
    """Measure a run, and keep its adversarial examples."""
    torch.set_num_threads(1)
    how = {"attacks": ("clean", "fgsm", "pgd"), "limit": 100, "batch_size": 10, "pgd_steps": 10, "pgd_restarts": 2}
    if not (out / "examples.safetensors").exists() or list(out.glob(".evaluation-*.jsonl")):
        evaluate_target(out.parent / "run", out=out, save_adversarial=out / "examples.safetensors", **how)


def weights(out):
    return [load_tensors(file)[0] for file in (*sorted(out.glob("*.safetensors")), Run(out).state)]


def examples(out):
    return [load_tensors(out / "examples.safetensors")[0]]


def timeless(value):
    if isinstance(value, list):
        return [timeless(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: timeless(each) for name, each in value.items() if name not in TIMES}


def lines(file):
    """Return the records of a file that depend on nothing but the work."""
    records = [timeless(record) for record in read_records(file)]
    for record in records:
        record.pop("settings", None)
    return records


def in_a_process(work, out, seconds=None):
    """Run `work` in a process of its own, killed after so many seconds; return its time, and whether it was killed."""
    start = time.monotonic()
    child = FORKS.Process(target=work, args=(out,))
    child.start()
    child.join(seconds)
    child.kill()
    child.join()
    assert child.exitcode in (0, -9)
    return time.monotonic() - start, child.exitcode == -9


@pytest.mark.parametrize(
    ("work", "tensors", "records"),
    [(trained, weights, "metrics.jsonl"), (measured, examples, "evaluation.jsonl")],
    ids=["training", "evaluation"],
)
def test_what_is_killed_ends_as_what_is_not(work, tensors, records, tmp_path):
    in_a_process(trained if work is measured else os.path.exists, tmp_path / "run")  # and torch is imported, once
    seconds, killed = in_a_process(work, tmp_path / "whole")
    assert not killed
    moments, kills, names = random.Random(0), 0, 0
    while kills < KILLS:
        out = tmp_path / f"killed{names}"
        while kills < KILLS:
            _, killed = in_a_process(work, out, moments.uniform(0, seconds))
            kills += killed
            if not killed:
                break
        in_a_process(work, out)
        for a, b in zip(tensors(tmp_path / "whole"), tensors(out), strict=True):
            assert a.keys() == b.keys()
            assert [name for name in a if not torch.equal(a[name], b[name])] == []
        assert lines(out / records) == lines(tmp_path / "whole" / records)
        assert not [file.name for file in out.iterdir() if file.name.startswith(".") and file.name != ".lock"]
        names += 1
    print(f"{work.__name__}: {kills} kills in {names} runs, all of which ended as the one that was not killed")


SUITE = """
[train]
dataset = "digits"
method = "fast-at"
eps = 38
epochs = 3
width = 4
train_limit = 200
select_limit = 40
select_steps = 2
checkpoint_every = 2
seed = [0, 1]
[evaluate]
attacks = "clean,pgd"
limit = 60
pgd_steps = 5
pgd_restarts = 1
"""


@pytest.mark.skipif(KILLS < 10, reason="each process imports torch anew; make faults")
def test_a_suite_that_is_killed_ends_as_one_that_is_not(tmp_path):
    (tmp_path / "table.toml").write_text(SUITE)
    command = [sys.executable, "-m", "fastbat", "suite", "run", str(tmp_path / "table.toml"), "--out"]
    start = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    seconds, moments, kills, names = time.monotonic() - start, random.Random(0), 0, 0
    whole = {each["trial"]: each for each in suite_lines(tmp_path / "whole")}
    while kills < KILLS // 5:
        out, ended = tmp_path / f"killed{names}", False
        while kills < KILLS // 5 and not ended:
            ended = ends_before([*command, str(out)], moments.uniform(0, seconds))
            kills += not ended
        subprocess.run([*command, str(out)], check=True, capture_output=True)
        assert {each["trial"]: each for each in suite_lines(out)} == whole
        names += 1
    print(f"suite: {kills} kills in {names} runs, whose records are those of the one that was not killed")


def ends_before(command, seconds):
    """Run a command, killed after so many seconds; say whether it ended before."""
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as child:
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            time.sleep(1)  # for its trials, which end with it
            return False
    return True


def suite_lines(out: Path):
    """Return the records of a suite, without what says where and when."""
    records = [timeless(record) for record in read_records(out / "results.jsonl")]
    for record in records:
        del record["provenance"]
        for result in record["results"]:
            del result["settings"]
    return records
