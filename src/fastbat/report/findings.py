"""What came out, in sentences made by rule: who leads, what is worth its cost, who collapsed, what is open."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fastbat.report.audit import lowest
from fastbat.report.board import scale_of
from fastbat.report.cards import Cards
from fastbat.report.curves import once
from fastbat.report.plane import front, measured
from fastbat.results.cost import UNTIMED
from fastbat.results.names import counted, instead, listed, network, shown, span
from fastbat.results.place import beats
from fastbat.results.read import Found
from fastbat.results.records import Accuracy
from fastbat.results.rows import Group, Row
from fastbat.results.state import collapsed, fell, robust, still_rising

MOST = 3  # groups that a finding speaks of
NAMED = 4  # rows that a sentence names


class Finding(NamedTuple):
    """A heading and its sentences."""

    head: str
    text: str


def findings(groups: Sequence[Group], found: Found) -> list[Finding]:
    """Return the findings of a comparison."""
    told = [leaders(groups), worth_its_cost(groups), collapse(groups), limits(groups, found)]
    return [finding for finding in told if finding]


def findings_of_one(row: Row, found: Found) -> list[Finding]:
    """Return the findings on one model."""
    told = [robustness(row), flags_of(row), collapse_of(row), limits_of(row, found)]
    return [finding for finding in told if finding]


def at(group: Group, then: str = ", ") -> str:
    """Return `At eps 8, ` or nothing."""
    trained = f", trained at {group.trained_255:g}" if group.trained_255 else ""
    return f"At eps {group.eps_255:g}{trained}{then}" if group.eps_255 else ""


def leaders(groups: Sequence[Group]) -> Finding | None:
    """Return who has the highest accuracy, and who cannot be told apart from it."""
    sentences, alone, seeds = [], True, []
    for group in groups:
        ranked = [row for row in group.ranked if row.place]
        if len(ranked) < 2:
            continue
        top = max(ranked, key=lambda row: row.cells[group.key].percent)
        tied = [row for row in ranked if row is not top and not beats(top, row, ranked, group.key)]
        cell = top.cells[group.key]
        best = f"{at(group)}{top.full_name} has the highest {cell.label}, {cell.percent:.1f} %"
        if not tied:
            seeds.append(min(len(row.trials) for row in ranked))
            sentences.append(f"{best}, {'above' if seeds[-1] > 1 else 'on these images above'} every other row.")
            continue
        alone = False
        others = some([f"{row.full_name} {row.cells[group.key].percent:.1f}" for row in tied])
        sentences.append(f"{best}. It cannot be distinguished from {others}.")
    if not sentences:
        return None
    rest = len(sentences) - MOST
    more = f" {counted(rest, 'further group').capitalize()}: see the table." if rest > 0 else ""
    once = " Of one seed each: another training may come out otherwise." if 1 in seeds else ""
    head = "No single winner." if not alone else "Ahead on these images." if once else "A clear lead."
    return Finding(head, " ".join(sentences[:MOST]) + more + once)


def worth_its_cost(groups: Sequence[Group]) -> Finding | None:
    """Return the methods on the Pareto front of each group."""
    sentences, timed = [], True
    for group in groups[:MOST]:
        marks = measured(group, Cards())
        on = [mark.name for mark in front(marks) if mark.kind != "bad"]
        if len(marks) > 2 and on:
            sentences.append(f"{at(group)}no cheaper method is more robust than {listed(on)}.")
            timed = timed and all(row.cost.timed for row in group.ranked if row.cost)
    if not sentences:
        return None
    text = " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)
    caveat = "Estimates alone decide this." if timed else f"Estimates alone decide this. {UNTIMED}"
    return Finding("Worth their cost.", f"{text} {caveat}")


def collapse(groups: Sequence[Group]) -> Finding | None:
    """Return who overfitted catastrophically."""
    trials = {id(trial): trial for group in groups for row in group.rows for trial in row.trials}
    attacked = [trial for trial in trials.values() if robust(trial.epochs)]
    if not attacked:
        return None
    count = sum(fell(trial.epochs) for trial in attacked)
    recovered = sum(bool(collapsed(trial.epochs)) and not fell(trial.epochs) for trial in attacked)
    passing = f" The guard warned of {counted(recovered, 'more', 'more')} that recovered." if recovered else ""
    if not count:
        total = counted(len(attacked), "training").capitalize()
        return Finding("None ended collapsed.", f"{total}, and none ended in catastrophic overfitting.{passing}")
    names = [(at(group, ": "), [row.full_name for row in once(group.rows) if row.fallen]) for group in groups]
    told = [f"{where}{some(rows)}." for where, rows in names if rows]
    return Finding(
        f"{count} of {len(attacked)} ended collapsed.",
        " ".join(
            [*told[:MOST], f"That is catastrophic overfitting.{passing} The best epoch is shown where it was kept."]
        ),
    )


def limits(groups: Sequence[Group], found: Found) -> Finding | None:
    """Return what the page cannot say: seeds, epochs, scale, what failed or is not finished."""
    rows = [row for group in groups for row in group.ranked]
    if not rows:
        return None
    seeds = sorted({len(row.trials) for row in rows})
    if seeds == [1]:
        said = ["There is one seed a row: intervals are over the images alone."]
    else:
        said = [f"There are {span(seeds)} seeds a row."]
        said += ["Two seeds say little about a third, so their interval is wide."] if 2 in seeds else []
    if rising := sum(any(still_rising(epochs) for epochs in row.runs) for row in rows):
        said.append(f"{rising} of {len(rows)} rows had their best epoch at the end: longer training might help.")
    if any(cell.paper for row in rows for cell in row.cells.values()):
        said.append("The paper's numbers are at its own scale.")
    said += unfinished(found)
    if flagged := [row.full_name for row in rows if row.flags]:
        said.append(f"Red flags: {some(flagged)}.")
    return Finding("What this cannot say.", " ".join(said))


def unfinished(found: Found) -> list[str]:
    """Return how many trials of the suites failed or are not finished."""
    failed = sum(len(source.failed) for source in found.sources)
    waiting = sum(len(source.unfinished) for source in found.sources)
    said = [f"{counted(failed, 'trial').capitalize()} failed." if failed else ""]
    said.append(f"{counted(waiting, 'trial').capitalize()} of the suite not finished yet." if waiting else "")
    return [text for text in said if text]


def some(names: Iterable[str]) -> str:
    """Return the first names and how many more there are."""
    every = list(names)
    rest = len(every) - NAMED
    return listed([*every[:NAMED], counted(rest, "more", "more")] if rest > 0 else every)


def robustness(row: Row) -> Finding | None:
    """Return the accuracies of one model."""
    if not row.cells:
        return Finding("Not evaluated.", "No evaluation is recorded; `fastbat evaluate` makes one.")
    clean, least = row.cells.get("clean"), lowest(row)
    said = [f"It classifies {clean.percent:.1f} % of the clean images correctly."] if clean else []
    if least:
        shown = least if len(least) <= MOST else [least[0], least[-1]]
        said.append(f"Under the strongest attack made: {', '.join(map(strongest, shown))}.")
    return Finding("How robust.", " ".join(said))


def strongest(accuracy: Accuracy) -> str:
    """Return the accuracy under the strongest attack at a budget."""
    (low, high), bound = accuracy.interval, "at most " if accuracy.upper_bound else ""
    where = f" at eps {accuracy.eps_255:g}/255" if accuracy.eps_255 else ""
    return f"{bound}{accuracy.percent:.1f} % [{low:.1f}, {high:.1f}]{where} ({accuracy.label})"


def flags_of(row: Row) -> Finding | None:
    """Return whether signs of masked gradients were seen on one model."""
    if row.checked == "not attacked":
        return None
    if row.flags:
        return Finding(
            "Red flags.", f"{listed(name for name, _ in row.flags)}: the robust accuracy is likely too high."
        )
    told = {
        "none raised": "No sign of masked gradients was seen. That does not prove the opposite.",
        "not judged": "Not all signs of masked gradients could be judged.",
        "not checked": "Signs of masked gradients were not looked for.",
    }
    return Finding("Red flags.", told[row.checked])


def collapse_of(row: Row) -> Finding | None:
    """Return what became of one training."""
    if not any("val_ra" in epoch for epochs in row.runs for epoch in epochs):
        return None
    return Finding("Training.", f"{row.state.capitalize()}, after {counted(len(row.runs[0]), 'epoch')}.")


def limits_of(row: Row, found: Found) -> Finding:
    """Return what the page cannot say of one model."""
    said = ["One model: intervals are over the draw of the images and say nothing of another seed."]
    if any(still_rising(epochs) for epochs in row.runs):
        said.append("Its best epoch was the last: longer training might help.")
    return Finding("What this cannot say.", " ".join([*said, *unfinished(found)]))


def headline(groups: Sequence[Group], one: Row | None) -> str:
    """Return the title of the page."""
    datasets = listed(dict.fromkeys(_dataset(row) for group in groups for row in group.rows if _dataset(row)))
    if one is not None:
        return f"{one.name} on {datasets}" if datasets else one.name
    names = dict.fromkeys(row.name for group in groups for row in group.rows)
    what = "Adversarial training" if any(row.runs[0] for group in groups for row in group.rows) else "Robustness"
    compared = listed(names) if len(names) <= 4 else f"{counted(len(names), 'method')} compared"
    return f"{what}{f' on {datasets}' if datasets else ''}: {compared}"


def standfirst(groups: Sequence[Group], one: Row | None) -> str:
    """Return what was compared, in a few sentences; what the images stand in for, where they do, in the last."""
    rows = [row for group in groups for row in group.rows]
    if not rows:
        return "A closer look at one model: no evaluation is recorded here."
    labels = listed(dict.fromkeys(cell.label for row in rows for cell in row.cells.values()))
    budgets = listed(f"{eps:g}/255" for eps in sorted({group.eps_255 for group in groups} - {0}))
    scale = scale_of(groups[0])
    on = f" on {scale['test images']} test images" if scale["test images"] else ""
    attacked = f" Measured: {labels}{f', eps {budgets}' if budgets else ''}{on}." if labels else ""
    if one is not None:
        net = network(one.trials[0])
        of = f"{net}, " if net != "not recorded" else ""
        how = one.trials[0].setting("method")
        trained = f"{of}trained by {shown(str(how))}." if how else f"{of}trained elsewhere."
        return trained[0].upper() + trained[1:] + attacked + stand_ins(rows)
    trainings = len({id(trial) for row in rows for trial in row.trials})
    names = dict.fromkeys(row.name for row in rows)
    methods = some(names)
    parts = f"{counted(len(groups), 'group')}, each of one scale" if len(groups) > 1 else scale["network"]
    return f"{counted(trainings, 'model').capitalize()} by {methods}; {parts}.{attacked}{stand_ins(rows)}"


def stand_ins(rows: Sequence[Row]) -> str:
    """Return what images of these rows are in place of, as a sentence; nothing if they are what they are called."""
    said = dict.fromkeys(text for row in rows for trial in row.trials if (text := instead(trial)))
    return f" Stand-in images: {'; '.join(said)}." if said else ""


def _dataset(row: Row) -> str:
    return shown(str(row.trials[0].setting("dataset") or ""))
