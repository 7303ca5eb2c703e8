"""Generated command lines and settings that are wrong: each is one line, exit status 2, and nothing is written."""

import os
import tempfile
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastbat.cli import main

MANY = int(os.environ.get("EXAMPLES", "10"))  # of each test
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NO_NUMBER = st.one_of(TEXT.filter(lambda text: not is_number(text)), st.sampled_from(["1,5", "0x1p", "8/255/2", "--"]))
NO_FINITE = st.sampled_from(["nan", "inf", "-inf", "1e999"])
POSITIVE = (  # counts and sizes from 1 on
    "epochs", "batch-size", "width", "image-size", "train-limit", "accumulate", "select-steps", "select-restarts",
    "select-limit",
)  # fmt: skip
NUMBERS = ("eps", "max-lr", "momentum", "weight-decay", "label-smoothing", "ema", "lam", "ig-weight", "rotation")
CHOICES = (
    "protocol", "validation", "precision", "shortcut", "on-collapse", "linearise", "ig-mode", "attack-objective",
    "channels", "method", "dataset", "model", "activation", "log",
)  # fmt: skip
OUTSIDE = {  # of the range in which a setting means something
    "eps": [-1.0, 255.5], "momentum": [-0.1, 1.0], "weight-decay": [-1e-4], "label-smoothing": [-0.1, 1.0],
    "ema": [-0.1, 1.0], "max-lr": [-0.1], "rotation": [-1.0], "dropout": [-0.1, 1.0],
}  # fmt: skip


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


WRONG = st.one_of(
    st.tuples(st.sampled_from(NUMBERS), st.one_of(NO_NUMBER, NO_FINITE)),
    st.tuples(st.sampled_from(POSITIVE), st.one_of(NO_NUMBER, NO_FINITE, st.integers(-99, 0).map(str), st.just("1.5"))),
    st.tuples(st.sampled_from(CHOICES), st.text("qxz_?!", min_size=1, max_size=9)),
    st.sampled_from([(name, str(value)) for name, values in OUTSIDE.items() for value in values]),
)


def answer(words):
    """Return the exit status of a command line, what it printed, and the paths that it left in an empty folder."""
    out, err = StringIO(), StringIO()
    with tempfile.TemporaryDirectory() as folder, chdir(folder), redirect_stdout(out), redirect_stderr(err):
        given_files = [Path(word) for word in words if word.endswith(".toml")]
        for file in given_files:
            file.write_text(CONFIGS[file.name], encoding="utf-8")
        with pytest.raises(SystemExit) as ended:
            main(words)
        left = {path.name for path in Path(folder).rglob("*")} - {file.name for file in given_files}
    return ended.value.code, out.getvalue(), err.getvalue(), left


CONFIGS = {}


def refused(words):
    """Assert that a command line is answered with one line and leaves nothing."""
    status, out, err, left = answer(words)
    assert status == 2, (words, status, out, err)
    assert err.startswith("fastbat: "), (words, err)
    assert len(err.splitlines()) == 1, (words, err)
    assert (out, left) == ("", set()), (words, out, left)


@settings(max_examples=MANY, deadline=None)
@given(wrong=WRONG, more=st.lists(st.sampled_from(["--width=8", "--seed=1", "--flip"]), unique=True))
def test_a_wrong_flag_is_one_line(wrong, more):
    name, value = wrong
    refused(["train", *more, f"--{name}={value}", "--out", "run"])


SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.dates(), st.text("abc -", max_size=6),
    st.lists(st.integers(0, 9), max_size=3),
)  # fmt: skip


def toml(value):
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return {"nan": "nan", "inf": "inf", "-inf": "-inf"}.get(str(value), repr(value))
    return f'"{value}"' if isinstance(value, str) else str(value)


@settings(max_examples=MANY, deadline=None)
@given(name=st.from_regex(r"[a-z]{3,8}_[a-z]{3,8}x", fullmatch=True), value=SCALARS)
def test_a_setting_that_there_is_not_is_one_line(name, value):
    CONFIGS["own.toml"] = f"{name} = {toml(value)}\n"
    refused(["train", "--config", "own.toml", "--out", "run"])


@settings(max_examples=MANY, deadline=None)
@given(wrong=st.one_of(
    st.tuples(st.sampled_from([*NUMBERS, *POSITIVE]), st.one_of(st.dates(), st.lists(st.integers(), max_size=2),
                                                                st.sampled_from(["x", "", "nan", True, float("nan")]))),
    st.tuples(st.sampled_from(CHOICES), st.one_of(st.dates(), st.lists(st.integers(), max_size=2), st.just("q!"))),
))  # fmt: skip
@example(wrong=("method", []))
def test_a_setting_of_another_type_is_one_line(wrong):
    name, value = wrong
    CONFIGS["own.toml"] = f"{name.replace('-', '_')} = {toml(value)}\n"
    refused(["train", "--config", "own.toml", "--out", "run"])


@settings(max_examples=MANY, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(lambda t: "=" not in t))
def test_a_file_that_is_no_toml_is_one_line(text):
    CONFIGS["own.toml"] = f"[{text}"
    refused(["train", "--config", "own.toml", "--out", "run"])
