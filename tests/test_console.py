"""Tables on stdout: whole in a pipe, without the least columns in a narrow terminal, and never a column of a letter."""

import os
import re
import subprocess
import sys
from io import StringIO
from subprocess import PIPE

import pytest
from rich.console import Console

from fastbat import progress
from fastbat.cli import main
from fastbat.console import Rows, print_rows
from fastbat.evaluation.record import Accuracy, Evaluation
from fastbat.progress import bar, complain, say

HEADS = ("trial", "state", "weights", "SA", "n", "s/epoch")
LONG = "fast-at-ga-modelpreactresnet18-eps16-seed0"
CELLS = [(LONG, "finished", "best", "80.1", "1000", "12.2"), ("[/b]", "10 epochs", "best-ema", "", "", "")]
TABLE = Rows(HEADS, CELLS, ("trial",), ("s/epoch", "n", "weights"), "[red]")


def printed(what, width):
    console = Console(file=StringIO(), force_terminal=True, color_system=None, width=width)
    console.print(what, soft_wrap=True)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("width", "left_out"),
    [  # 16 for the trial, 9, 8, 4, 4 and 7 for the others, and 3 n + 1 around n columns
        (120, []),
        (67, []),
        (66, ["s/epoch"]),
        (57, ["s/epoch"]),
        (56, ["n", "s/epoch"]),
        (50, ["n", "s/epoch"]),
        (49, ["weights", "n", "s/epoch"]),
        (39, ["weights", "n", "s/epoch"]),
    ],
)
def test_a_narrow_terminal_shows_every_cell_of_the_columns_that_it_has_room_for(width, left_out):
    text = printed(TABLE, width)
    assert max(len(line) for line in text.splitlines() if line[0] in "┏┃┡│└") <= width
    for place, head in enumerate(HEADS[1:], 1):
        assert (f"│ {CELLS[0][place]} " in text) == (head not in left_out)
    assert ("left out, for the terminal is narrow: " + ", ".join(left_out) in text) == bool(left_out)
    first = re.findall(r"^│ (\S+)", text, re.MULTILINE)
    assert "".join(first) == f"{LONG}[/b]"
    assert "[red]" in text


def test_a_terminal_that_has_room_for_no_table_gets_whole_words():
    text = printed(TABLE, 20)
    assert all(f" {word} " in text for word in ("state", "10 epochs", "80.1"))


def test_in_a_pipe_every_table_is_whole(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    print_rows(HEADS, CELLS, text=("trial",), least=("n",))
    said = capsys.readouterr().out
    assert all(f" {cell} " in said for cell in (*HEADS, *CELLS[0], *CELLS[1]))
    for command, line in (
        ("suite list", "Table 2: trained and attacked at eps 16 and 8, and FAST-BAT without its implicit term  "),
        ("list datasets", "hub uoft-cs/cifar100, or --data-dir: 60,000 colour 32x32 images, 100 classes; rotated"),
    ):
        main(command.split())
        assert line in capsys.readouterr().out


@pytest.mark.parametrize("width", [100, 60, 40])
def test_an_evaluation_shows_every_accuracy_whole_at_any_width(width):
    made = [Accuracy("transfer", f"RA-transfer-{LONG}", 8 / 255, 4521, 10000, 1233.3, upper_bound=True)]
    about = {"target": "best.safetensors", "epoch": 3, "dataset": "cifar10", "aa_parts": []}
    text = printed(Evaluation(10000, tuple(made), (), (), about), width)
    assert "│ at most 45.2 [44.2, 46.2] │" in text
    assert (" 1233.3 " in text) == (width > 80)
    assert f"RA-transfer-{LONG}" in str(Evaluation(10000, tuple(made), (), (), about))


NAME = "a\x1b[2Jb\x9b\x7f\u202ec\udcff\tü"  # clears the screen, turns what follows, is no text
SHOWN = r"a\x1b[2Jb\x9b\x7f\u202ec\udcff"


def test_a_name_does_not_steer_the_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "console", Console(file=StringIO(), force_terminal=True, width=200))
    say(NAME)
    complain(NAME)
    assert capsys.readouterr().err == f"{SHOWN}\tü\nfastbat: {SHOWN}\tü\n"
    with bar(f"[/b]{NAME}") as show:
        show(0.5, f"[/b]{NAME}")
    print_rows(["name"], [[NAME]], title=NAME, caption=NAME)
    for shown, times in ((progress.console.file.getvalue(), 1), (capsys.readouterr().out, 3)):
        assert shown.count(SHOWN) >= times
        assert "\x1b[2J" not in shown
        assert not {"\x9b", "\u202e"} & set(shown)


@pytest.mark.skipif(os.name == "nt", reason="a shell's pipe")
def test_a_reader_that_stops_early_gets_no_error_line():
    with subprocess.Popen([sys.executable, "-m", "fastbat", "list", "attacks"], stdout=PIPE, stderr=PIPE) as child:
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode
