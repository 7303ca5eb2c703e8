"""examples/quickstart.ipynb: its cells run in order in a new kernel, and its kept outputs are of such a run."""

import base64
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from test_style import LONGEST, sentences

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "quickstart.ipynb"
MOST_BYTES = 200_000  # bytes, with its figures
EPOCHS = "epochs=12"  # as it is kept; it is run with fewer
METHODS = ("FAST-AT", "PGD-2", "FAST-BAT")


def shown(notebook: nbformat.NotebookNode, kind: str) -> list[str]:
    """What the cells show of one kind, in order."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


def check_outputs(notebook: nbformat.NotebookNode) -> None:
    """Each cell ran once, in order; there are two figures, a row a method, and an evaluation."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    figures = [base64.b64decode(figure) for figure in shown(notebook, "image/png")]
    assert [figure[:8] for figure in figures] == [b"\x89PNG\r\n\x1a\n"] * 2
    compared, evaluation = shown(notebook, "text/html")
    for method in METHODS:
        assert re.search(rf"│ {method} +│ \d+\.\d \[\d+\.\d, \d+\.\d\] │ \d+\.\d \[", compared)
    assert re.search(r"│ RA-PGD-50-10 │ 51/255 │", evaluation)
    assert "95 % interval over the draw of the images" in evaluation


def test_its_words_are_those_of_a_page_and_its_links_lead_somewhere() -> None:
    cells = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "markdown"]
    text = "\n\n".join(cells)
    assert [sentence for sentence in sentences(text) if len(sentence.split()) > LONGEST] == []
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 3
    assert [link for link in links if not (NOTEBOOK.parent / link).exists()] == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")  # of the kernel's libraries
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum(EPOCHS in cell.source for cell in code) == 1
    for cell in code:
        cell.update(outputs=[], execution_count=None, source=cell.source.replace(EPOCHS, "epochs=3"))
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    check_outputs(notebook)
    assert list(tmp_path.iterdir()) == []


def test_its_kept_outputs_are_those_of_a_run() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    check_outputs(notebook)
    assert NOTEBOOK.stat().st_size < MOST_BYTES
