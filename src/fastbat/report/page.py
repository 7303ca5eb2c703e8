"""The page: one self-contained HTML file whose own policy forbids every request and every script but its own.

Names, errors and settings come from records, so whatever is text is escaped by the template, JSON in the page has no
`<`, and a script that got in would not run: only the one whose hash the policy names does.
"""

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from fastbat.files import check_page, replacing
from fastbat.paper import scale as printed_scale
from fastbat.report import audit, board, budget, curves, overfitting
from fastbat.report.cards import Cards
from fastbat.report.claims import claims
from fastbat.report.colour import ramp
from fastbat.report.examples import examples
from fastbat.report.findings import findings, findings_of_one, headline, standfirst
from fastbat.report.landscape import profile, surfaces
from fastbat.report.plane import planes
from fastbat.report.theory import theory
from fastbat.results.claims import judge
from fastbat.results.cost import UNTIMED
from fastbat.results.names import shown
from fastbat.results.origin import MISSING, commit, machine, same, training
from fastbat.results.read import Found, Source, kind_of, read
from fastbat.results.records import Trial, measured
from fastbat.results.rows import Group, Row, groups_of
from fastbat.results.table import as_csv, lines

STYLES = ("tokens.css", "base.css", "board.css", "plots.css", "sections.css", "phone.css", "print.css")
SCRIPTS = ("start.js", "card.js", "board.js", "curves.js", "surface.js", "end.js")


def write_report(folders: Sequence[Path | str], file: Path | str, title: str | None = None) -> Path:
    """Write the page of the records in `folders` to `file`, and return its path.

    Args:
        folders: those of suites and audits, and run directories; or folders that hold such folders.
        file: the .html file.
        title: of the page; made from what was compared unless given.

    Raises:
        InputError: If a folder holds no records, or `file` cannot be written.
    """
    check_page(Path(file))
    return write_page(read([Path(folder) for folder in folders]), Path(file), title)


def write_page(found: Found, file: Path, title: str | None = None) -> Path:
    """Write the page of what was read to `file`, and return its path."""
    page = render(found, title).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as out:
        out.write(page)
    return file


def report_evaluation(record: Mapping[str, Any], run: Path | None, file: Path) -> Path:
    """Write the page of one evaluation to `file`, with the epochs and closer looks of the `run` that it is of."""
    about = record["settings"]
    if run is not None and kind_of(run) == "run":
        found = read([run])
    else:
        trained = {name: about[name] for name in ("dataset", "method") if about.get(name)}
        found = Found([Trial(str(about["target"]), trained, ())], [Source(str(about["target"]), "audit")])
    found.trials = [replace(found.trials[0], evaluations=(measured(record),))]
    return write_page(found, file)


def render(found: Found, title: str | None = None) -> str:
    """Return the page as text."""
    groups, cards = groups_of(found), Cards()
    one = audit.only_row(groups)
    context = {
        "title": title or headline(groups, one),
        "standfirst": standfirst(groups, one),
        "findings": findings(groups, found) if one is None else findings_of_one(one, found),
        "scale": scale(groups),
        "one": None if one is None else single(one, found, cards),
        "relative": any(row.cost and row.cost.relative for group in groups for row in group.rows),
        "untimed": UNTIMED if any(row.cost and not row.cost.timed for group in groups for row in group.rows) else "",
        "columns": board.columns(groups),
        "groups": [] if one is not None else board.board(groups, cards),
        "others": [] if one is not None else board.other_attacks(groups, cards),
        "csv": "data:text/csv;charset=utf-8," + quote(as_csv(lines(groups, found))),
        "planes": [] if one is not None else planes(groups, found, cards),
        "training": curves.training(groups),
        "phase": overfitting.phase(groups) if curves.any_robust(groups) else None,
        "panels": overfitting.panels(groups),
        "budgets": budget.budgets(groups, cards),
        "early": budget.early_stopping(groups, cards),
        "surfaces": (shown_surfaces := surfaces(found.looks)),
        "profile": profile(found.looks),
        "theory": theory(found, groups),
        "examples": examples(found.looks),
        "flags": raised(groups),
        "claims": claims(judge(found, groups)),
        "sources": [source_view(i, source, found) for i, source in enumerate(found.sources)],
        "paper": any(cell.paper for group in groups for row in group.rows for cell in row.cells.values()),
        "version": version("fastbat"),
    }
    data = {
        "cards": cards.cards,
        "origins": cards.origins,
        "surfaces": [{name: each[name] for name in ("name", "reach", "eps", "z")} for each in shown_surfaces],
        "ramp": ramp(9),
        "series": {"training": ["SA", "RA", "one step", "loss"], "overfitting": ["RA", "one step", "alignment"]},
    }
    return fill(context, data)


def fill(context: dict[str, Any], data: dict[str, Any]) -> str:
    """Return the template filled in, with styles, script, data and the policy that allows nothing else."""
    script, style = ("".join(map(text_of, names)) for names in (SCRIPTS, STYLES))
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        loader=FunctionLoader(text_of),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html.j2")
    return template.render(
        css=Markup(style), script=Markup(script), policy=policy, data=Markup(as_json(data)), **context
    )


def text_of(name: str) -> str:
    """Return a file of the page: template, style, script."""
    return (files("fastbat.report") / "page_files" / name).read_text(encoding="utf-8")


def as_json(value: Any) -> str:
    """Return JSON that ends no script and starts no comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("\u2028", "\\u2028")


def scale(groups: Sequence[Group]) -> dict[str, Any] | None:
    """Return the scale of the first group, or of all if they are alike, beside the paper's if that has its rows."""
    if not groups:
        return None
    here, *others = (board.scale_of(group) for group in groups)
    cells = [cell for row in groups[0].rows for each in row.cells.values() for cell in each.paper]
    theirs = {} if not cells else {**printed_scale(cells[0].table), "network": shown(cells[0].model)}
    rows = [(what, ours, theirs.get(what, "")) for what, ours in here.items() if ours]
    return {"rows": rows, "whose": "here" if all(each == here for each in others) else "here, first group"}


def single(row: Row, found: Found, cards: Cards) -> dict[str, Any]:
    """Return what the page shows of one model alone."""
    return {
        "accuracies": audit.accuracies(row, cards),
        "classes": audit.classes(row, found.looks),
        "least": audit.least_budgets(found.looks),
        "remarks": audit.remarks(row),
        "settings": audit.settings(row.trials[0], row.evaluations),
        "checked": row.checked,
    }


def raised(groups: Sequence[Group]) -> list[dict[str, str]]:
    """Return the red flags that were raised, each with its row and its text."""
    every = [
        (row.full_name, f"eps {group.eps_255:g}", name, text)
        for group in groups
        for row in group.rows
        for name, text in row.flags
    ]
    return [{"row": row, "eps": eps, "name": name, "text": text} for row, eps, name, text in dict.fromkeys(every)]


def source_view(place: int, source: Source, found: Found) -> dict[str, Any]:
    """Return a source as the template shows it: what was run, by which commit, on which machine."""
    trials = [trial for trial in found.trials if trial.source == place]
    written = [each for trial in trials for each in [*trial.provenance, *(e.settings for e in trial.evaluations)]]
    kind = {"suite": "Suite", "run": "Training run", "audit": "Evaluations of", "look": "Closer look"}[source.kind]
    return {
        "name": source.title or source.name,
        "kind": kind,
        "trials": len(trials),
        "commands": commands(trials),
        "commit": same(map(commit, written)) or MISSING,
        "machine": same(map(machine, written)) or MISSING,
        "torch": same(str(each.get("versions", {}).get("torch") or MISSING) for each in written) or MISSING,
        "seeds": ", ".join(str(seed) for seed in sorted({t.seed for t in trials if t.seed is not None})) or MISSING,
        "files": [(name, digest[:12]) for name, digest in source.files],
        "failed": source.failed,
        "unfinished": source.unfinished,
    }


def commands(trials: Sequence[Trial]) -> list[str]:
    """Return the commands of trials, of trainings and evaluations, each once."""
    made = [training([trial]) for trial in trials if trial.provenance]
    made += [str(e.settings["command"]) for t in trials for e in t.evaluations if e.settings.get("command")]
    return list(dict.fromkeys(made))
