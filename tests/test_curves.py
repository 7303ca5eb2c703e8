"""Curves of runs: drawn from what the runs recorded, by `fastbat plot`, and logged for TensorBoard."""

import json

import pytest

from fastbat.cli import main
from fastbat.curves import draw_panel, records_of
from fastbat.errors import InputError
from fastbat.files import read_records
from fastbat.methods import METHODS
from fastbat.training import Settings, train

TINY = {"width": 4, "train_limit": 60, "select_limit": 10, "select_steps": 1}
EPOCHS = [
    {"epoch": 1, "loss": 2.0, "val_sa": 30.0, "val_ra": 10.0, "val_one_step": 12.0, "collapsed": False},
    {"epoch": 2, "loss": 1.5, "val_sa": 40.0, "val_ra": 1.0, "val_one_step": 50.0, "collapsed": True},
]


def recorded(folder, epochs=EPOCHS):
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
    return folder


class Axis:
    """Keeps what is drawn on it."""

    def __init__(self):
        self.lines, self.grid, self.legend = {}, lambda **_: None, lambda **_: None
        self.spines = {("top", "right"): self}

    def __class_getitem__(cls, _):
        return cls

    def plot(self, x, y, style, color, label):
        self.lines[label] = (x, y, style)

    def set_visible(self, _):
        pass


def test_a_panel_shows_what_was_recorded_and_marks_a_collapse(tmp_path):
    axis = Axis()
    axis.spines = type("Spines", (), {"__getitem__": lambda self, _: axis})()
    draw_panel(axis, {"val_ra": ("robust", "-"), "val_sa": ("standard", ":")}, records_of([recorded(tmp_path / "a")]))
    assert axis.lines == {
        "a robust": ((1, 2), (10.0, 1.0), "-"),
        "a collapsed": ((2,), (1.0,), "x"),
        "a standard": ((1, 2), (30.0, 40.0), ":"),
    }


@pytest.mark.parametrize(("ending", "head"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_curves_are_drawn_into_a_file(ending, head, tmp_path, capsys):
    runs = [recorded(tmp_path / name) for name in ("one", "another")]
    main(["plot", *map(str, runs), "-o", str(tmp_path / f"out.{ending}")])
    assert (tmp_path / f"out.{ending}").read_bytes().startswith(head)
    assert f"drew {tmp_path}/out.{ending}" in capsys.readouterr().err.replace("\n", "")


def test_without_a_name_they_are_drawn_into_the_run_again_and_again(tmp_path):
    run = recorded(tmp_path / "run")
    for _ in range(2):
        main(["plot", str(run)])
    assert (run / "curves.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("plot", "no run is named"),
        ("plot {0}/nowhere", "has no finished epoch to draw; name a run directory"),
        ("plot {0}/a -o {0}/c.gif", "c.gif' ends in none of .png, .svg, .pdf"),
        ("plot {0}/a -o {0}/there.png", "there.png' exists already; name another file"),
        ("plot {0}/a {0}/b/a -o {0}/c.png", "two runs are called 'a'"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(line, message, tmp_path, capsys):
    recorded(tmp_path / "a")
    recorded(tmp_path / "b" / "a")
    (tmp_path / "there.png").write_text("mine")
    with pytest.raises(SystemExit) as stop:
        main(line.format(tmp_path).split())
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert (tmp_path / "there.png").read_text() == "mine"


def test_tensorboard_has_what_metrics_jsonl_has_also_after_a_resume(tmp_path, monkeypatch):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    method, settings = METHODS["fast-at"](eps=0.1), Settings(epochs=2, log="tensorboard", **TINY)
    run = train(method, settings, tmp_path / "run")
    found = event_accumulator.EventAccumulator(str(run.path / "tensorboard"))
    found.Reload()
    records = read_records(run.metrics)
    for name in ("loss", "val_ra", "lr"):
        points = [(event.step, event.value) for event in found.Scalars(name)]
        assert points == [(record["epoch"], pytest.approx(record[name], rel=1e-6)) for record in records]


def test_a_logger_that_is_not_installed_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("fastbat.training.loggers.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"which is not installed: pip install fastbat\[tensorboard\]"):
        train(METHODS["fast-at"](eps=0.1), Settings(log="tensorboard", **TINY), tmp_path / "run")
    assert not (tmp_path / "run").exists()
