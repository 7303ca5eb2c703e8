"""Files: replaced whole or not at all, checked when read, never unpickled."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from unittest.mock import ANY

import pytest
import torch
from safetensors.torch import save_file

from fastbat.errors import Damaged, InputError
from fastbat.files import (
    append_record,
    load_tensors,
    locked,
    read_records,
    remove_beside,
    replace,
    replacing,
    save_tensors,
    write_records,
)
from fastbat.files.records import line_of, record_of

TENSORS = {
    "b": torch.rand(3, 2),
    "a/scalar": torch.tensor(7),
    "mask": torch.tensor([True, False]),
    "empty": torch.rand(0),
}


def test_equal_tensors_make_equal_files(tmp_path):
    for name in "12345678":
        save_tensors(tmp_path / name, TENSORS, {"z": 1, "fastbat": "ü"})
    assert len({(tmp_path / name).read_bytes() for name in "12345678"}) == 1


def test_tensors_and_their_description_come_back(tmp_path):
    strided = {**TENSORS, "transposed": torch.rand(2, 3).T, "shared": TENSORS["b"]}
    save_tensors(tmp_path / "f", strided, {"epoch": 3, "name": "ü"})
    tensors, about = load_tensors(tmp_path / "f")
    assert about == {"epoch": 3, "name": "ü"}
    assert all(torch.equal(tensors[name], tensor) for name, tensor in strided.items())
    assert tensors["a/scalar"].shape == ()


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    (tmp_path / "f").write_bytes(b"old")

    def write():
        with replacing(tmp_path / "f") as file:
            file.write(b"half of the new")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write()
    assert (tmp_path / "f").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("position", [9, 60, -1])
def test_one_flipped_bit_is_noticed(position, tmp_path):
    save_tensors(tmp_path / "f", TENSORS, {"epoch": 3})
    data = bytearray((tmp_path / "f").read_bytes())
    data[position] ^= 4
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(InputError, match=r"copy it again|has no fastbat metadata"):
        load_tensors(tmp_path / "f")


def test_no_flipped_bit_of_a_file_is_used(tmp_path):
    save_tensors(tmp_path / "f", TENSORS, {"epoch": 3})
    whole = (tmp_path / "f").read_bytes()
    for bit in range(8 * len(whole)):
        altered = bytearray(whole)
        altered[bit // 8] ^= 1 << bit % 8
        (tmp_path / "f").write_bytes(altered)
        with pytest.raises(Damaged):
            load_tensors(tmp_path / "f")


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_a_truncated_file_is_noticed(keep, tmp_path):
    save_tensors(tmp_path / "f", TENSORS, {"epoch": 3})
    (tmp_path / "f").write_bytes((tmp_path / "f").read_bytes()[:keep])
    with pytest.raises(InputError, match=r"is not a whole safetensors file .* copy it again"):
        load_tensors(tmp_path / "f")


def test_a_pickle_is_refused_unread(tmp_path):
    torch.save({"a": torch.rand(3)}, tmp_path / "f.pt")
    with pytest.raises(InputError, match="is not a whole safetensors file"):
        load_tensors(tmp_path / "f.pt")


def test_a_foreign_safetensors_file_is_told_apart(tmp_path):
    save_file({"a": torch.rand(3)}, tmp_path / "f")
    with pytest.raises(
        InputError, match="has no fastbat metadata; only checkpoints written by fastbat say their model"
    ):
        load_tensors(tmp_path / "f")


def test_a_line_cut_short_by_a_crash_is_left_out_and_written_over_by_none(tmp_path):
    path = tmp_path / "records.jsonl"
    append_record(path, {"epoch": 1})
    with path.open("a") as file:
        file.write('{"epoch": 2, "los')
    assert read_records(path) == [{"epoch": 1}]
    append_record(path, {"epoch": 2})
    assert read_records(path) == [{"epoch": 1}, {"epoch": 2}]
    write_records(path, [{"epoch": 9}])
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"epoch": 9, "check": ANY}]
    assert read_records(tmp_path / "none") == []


def test_a_record_is_on_the_disk_before_anything_else_is_done(tmp_path, monkeypatch):
    seen, path = [], tmp_path / "records.jsonl"
    monkeypatch.setattr(os, "fsync", lambda fd: seen.append(path.read_text()))
    append_record(path, {"epoch": 1})
    assert [json.loads(text) for text in seen] == [{"epoch": 1, "check": ANY}] * 2  # the second: the folder


RECORD = {"epoch": 12, "loss": 2.25, "best": True, "says": 'ü, "check"', "none": None, "nested": [{"n": 1e-9}]}


def test_no_flipped_bit_of_a_record_is_taken_for_another_record():
    line = line_of(RECORD)[:-1]
    assert record_of(line) == RECORD
    for bit in range(8 * len(line)):
        altered = bytearray(line)
        altered[bit // 8] ^= 1 << bit % 8
        assert record_of(bytes(altered)) in (None, RECORD)  # RECORD: in the word `check`, which says nothing
    assert [record_of(line[:end]) for end in range(len(line))] == [None] * len(line)


def test_a_record_of_others_has_no_checksum_and_is_read():
    assert record_of(b'{"epoch": 3, "says": "by hand"}') == {"epoch": 3, "says": "by hand"}
    assert record_of(b"[3]") is None


def test_an_altered_record_is_left_out_and_said(tmp_path, capsys):
    path = tmp_path / "records.jsonl"
    write_records(path, [{"epoch": epoch, "loss": 2.5} for epoch in (1, 2, 3)])
    path.write_text(path.read_text().replace('"epoch": 2, "loss": 2.5', '"epoch": 2, "loss": 0.5'))
    for _ in range(2):
        assert [record["epoch"] for record in read_records(path)] == [1, 3]
    assert capsys.readouterr().err == f"{path}: line 2 was altered or cut short; it is left out\n"
    path.write_bytes(b"\xff\xfe" + path.read_bytes())
    assert [record["epoch"] for record in read_records(path)] == [3]


def test_what_is_not_read_back_as_it_was_written_replaces_nothing(tmp_path, monkeypatch):
    """As of a disk that loses what it said it had written."""
    path, fsync = tmp_path / "weights", os.fsync
    path.write_bytes(b"before")

    def loses(handle):
        fsync(handle)
        os.ftruncate(handle, 3)

    monkeypatch.setattr(os, "fsync", loses)
    with pytest.raises(OSError, match="what is read back is not what was written") as error:
        replace(path, b"after", b"wards")
    assert error.value.filename == str(path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_keeps_its_name_where_the_next_is_too_large_for_the_disk(tmp_path):
    path, limits = tmp_path / "weights", resource.getrlimit(resource.RLIMIT_FSIZE)
    save_tensors(path, TENSORS, {})
    before = path.read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            save_tensors(path, {"more": torch.rand(1000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.errno == errno.EFBIG
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_file_was_is_kept_under_another_name(tmp_path):
    path, kept = tmp_path / "last", tmp_path / "previous"
    for content in (b"one", b"two", b"three"):
        replace(path, content, kept=kept)
    assert (path.read_bytes(), kept.read_bytes()) == (b"three", b"two")


def test_what_a_crash_left_beside_a_file_is_removed_and_nothing_else(tmp_path):
    for name in (".last.ckpt.0a1b2c3d", ".last.ckpt.0a1b2c3d.mine", ".best.ckpt.0a1b2c3d", "last.ckpt", ".lock"):
        (tmp_path / name).write_bytes(b"")
    remove_beside(tmp_path / "last.ckpt")
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        ".best.ckpt.0a1b2c3d", ".last.ckpt.0a1b2c3d.mine", ".lock", "last.ckpt",
    ]  # fmt: skip
    remove_beside(tmp_path / "nowhere" / "last.ckpt")


def test_what_others_may_be_writing_is_left_beside_a_file(tmp_path):
    for name, ago in ((".pixels.npy.0a1b2c3d", 0), (".pixels.npy.1a1b2c3d", 7200), (".pixels.npy.2a1b2c3d", -7200)):
        (tmp_path / name).write_bytes(b"half of")
        os.utime(tmp_path / name, (time.time() - ago,) * 2)
    remove_beside(tmp_path / "pixels.npy", 3600)
    assert sorted(file.name for file in tmp_path.iterdir()) == [".pixels.npy.0a1b2c3d", ".pixels.npy.2a1b2c3d"]


HOLD = "import sys, time; from pathlib import Path; from fastbat.files import locked\n"
HOLD += "with locked(Path(sys.argv[1]), 'training'): print('held', flush=True); time.sleep(600)"


def test_a_lock_does_not_outlive_its_owner(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process is training in"), locked(tmp_path, "training"):
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
        with locked(tmp_path, "training"):
            pass


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    def none(file, how):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fastbat.files.safe.fcntl.flock", none)
    says = r"has no locks \(flock: Function not implemented\), so two processes could write there; name an --out on"
    with pytest.raises(InputError, match=says), locked(tmp_path, "training"):
        pass
