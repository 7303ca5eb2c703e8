"""Files: replaced whole or not at all, checked when read, never unpickled."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from fastbat.errors import InputError
from fastbat.files import append_record, load_tensors, read_records, replacing, save_tensors, write_records

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
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"epoch": 9}]
    assert read_records(tmp_path / "none") == []


def test_a_record_is_on_the_disk_before_anything_else_is_done(tmp_path, monkeypatch):
    seen, path = [], tmp_path / "records.jsonl"
    monkeypatch.setattr(os, "fsync", lambda fd: seen.append(path.read_text()))
    append_record(path, {"epoch": 1})
    assert seen == ['{"epoch": 1}\n']
