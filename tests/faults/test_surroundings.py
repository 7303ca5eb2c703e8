"""A disk that is full, a folder that cannot be written or is gone, a clock that goes back: one line, nothing lost."""

import os
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
import torch

from fastbat.cli import main
from fastbat.files import load_tensors, read_records
from fastbat.methods import METHODS
from fastbat.training import Run, Settings, train
from fastbat.training import epoch as epochs

METHOD = METHODS["fast-at"](eps=0.15)
SMALL = Settings(epochs=3, width=4, train_limit=150, batch_size=50, select_limit=40, select_steps=1)
FLAGS = "--method fast-at --eps 38.25 --epochs 3 --width 4 --train-limit 150 --batch-size 50 --select-limit 40"
COMMAND = ["train", *FLAGS.split(), "--select-steps", "1", "--checkpoint-every", "1"]


def same(run, other):
    a, b = (load_tensors(each.weights("last"))[0] for each in (run, other))
    return all(torch.equal(a[name], b[name]) for name in a)


@contextmanager
def small_disk(place, kilobytes):
    """Mount a file system of so many kilobytes; skip where that is not allowed."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fails(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main(command)
    *_, last = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert last.startswith("fastbat: ")
    return last


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(tmp_path, capsys, monkeypatch):
    whole, update = train(METHOD, SMALL, tmp_path / "whole"), epochs.update
    with small_disk(tmp_path / "disk", 600):
        for step in range(1, 9):  # the disk is full in each of the steps, one after another
            fill = tmp_path / "disk" / "fill"

            def fills(task, state, batch, now, step=step, fill=fill):
                if now == step:
                    with suppress(OSError), fill.open("wb", buffering=0) as file:
                        while True:
                            file.write(bytes(4096))
                return update(task, state, batch, now)

            monkeypatch.setattr(epochs, "update", fills)
            said = fails(capsys, [*COMMAND, "--out", str(tmp_path / "disk" / "run"), "--resume"])
            assert said.endswith("No space left on device; check its folder, its rights and the free space")
            fill.unlink()
        monkeypatch.setattr(epochs, "update", update)
        main([*COMMAND, "--out", str(tmp_path / "disk" / "run"), "--resume"])
        run = Run(tmp_path / "disk" / "run")
        assert same(run, whole)
        assert [record["epoch"] for record in read_records(run.metrics)] == [1, 2, 3]


def test_a_folder_that_is_removed_under_a_run_is_one_line(tmp_path, capsys, monkeypatch):
    update, run = epochs.update, Run(tmp_path / "run")

    def removes(task, state, batch, step):
        if step == 4:
            run.path.rename(tmp_path / "moved")
        return update(task, state, batch, step)

    monkeypatch.setattr(epochs, "update", removes)
    said = fails(capsys, [*COMMAND, "--out", str(run.path)])
    assert said.endswith("No such file or directory; check its folder, its rights and the free space")
    monkeypatch.setattr(epochs, "update", update)
    assert not run.path.exists()
    main([*COMMAND, "--out", str(tmp_path / "moved"), "--resume"])
    assert same(Run(tmp_path / "moved"), train(METHOD, SMALL, tmp_path / "whole"))


def test_a_folder_that_must_not_be_written_is_one_line(tmp_path, capsys):
    with small_disk(tmp_path / "disk", 600):
        main([*COMMAND[:-2], "--out", str(tmp_path / "disk" / "run")])
        before = {file.name: file.read_bytes() for file in (tmp_path / "disk" / "run").iterdir()}
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)
        for flags in (["--out", str(tmp_path / "disk" / "run"), "--resume"], ["--out", str(tmp_path / "disk" / "new")]):
            assert "Read-only file system; check its folder, its rights" in fails(capsys, [*COMMAND, *flags])
        assert {file.name: file.read_bytes() for file in (tmp_path / "disk" / "run").iterdir()} == before


def test_a_clock_that_goes_back_changes_nothing(tmp_path, monkeypatch):
    whole, update, now = train(METHOD, SMALL, tmp_path / "whole"), epochs.update, time.time
    settings, hours = replace(SMALL, checkpoint_every=2), [0]

    def earlier(task, state, batch, step):
        hours[0] += 1
        for file in (tmp_path / "run").iterdir():
            os.utime(file, (now() - 3600 * hours[0],) * 2)
        if step == 7:
            raise MemoryError
        return update(task, state, batch, step)

    monkeypatch.setattr(time, "time", lambda: now() - 3600 * hours[0])
    monkeypatch.setattr(epochs, "update", earlier)
    with pytest.raises(MemoryError):
        train(METHOD, settings, tmp_path / "run")
    monkeypatch.setattr(epochs, "update", update)
    run = train(METHOD, settings, tmp_path / "run", resume=True)
    assert same(run, whole)
