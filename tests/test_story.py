"""docs/guides/own-data.md, followed to the letter, on a folder of JPEGs made from real photographs."""

import re
import shlex
from pathlib import Path

import pytest
from datasets import load_dataset

from fastbat import METHODS, Settings, train
from fastbat.cli import main
from fastbat.files import read_records

PAGE = Path(__file__).parents[1] / "docs" / "guides" / "own-data.md"
CLASSES = ("cat", "dog", "fish")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.S)


@pytest.fixture
def photos(real_data, tmp_path):
    """A folder photos/train/CLASS/*.jpg, photos/test/CLASS/*.jpg: 40 and 10 photographs a class, of several sizes."""
    rows = load_dataset(
        "parquet",
        data_files=str(real_data / "tiny-imagenet-20-train.parquet"),
        split="train",
        cache_dir=tmp_path / "hf",
    )
    counts = dict.fromkeys(range(len(CLASSES)), 0)
    for row in rows.select(range(2000)):
        label, picture = row["label"], row["image"]
        if label in counts and counts[label] < 50:
            counts[label] += 1
            split = "train" if counts[label] <= 40 else "test"
            folder = tmp_path / "photos" / split / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            picture.resize((64 + counts[label], 64)).save(folder / f"{counts[label]}.jpg")
    assert set(counts.values()) == {50}
    return tmp_path / "photos"


def test_from_a_folder_of_photographs_to_an_exported_robust_model(photos, monkeypatch, capsys):
    monkeypatch.chdir(photos.parent)
    settings = Settings(
        dataset="cifar10", data_dir=PAGE.parents[3] / "shared" / "data", train_limit=256, select_limit=50,
        model="preactresnet18", width=8, epochs=1,
    )  # fmt: skip
    train(METHODS["standard"](), settings, "base")
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) == 4
    for command in commands:
        main(shlex.split(command.removeprefix("fastbat ")))
    said = capsys.readouterr()
    assert "10 classes; the last layer, linear, starts at random" in said.err
    assert "RA-PGD-20-2" in said.out
    (record,) = read_records(Path("robust/evaluation.jsonl"))
    assert record["n"] == 30
    assert record["accuracies"][-1]["eps_255"] == 4
    (code,) = blocks("python")
    exec(code)
    assert "('cat', 'dog', 'fish')" in (printed := capsys.readouterr().out) or "['cat', 'dog', 'fish']" in printed
    assert "fast-bat 4.0" in printed
