"""fastbat suite export, compare, claims: the results of suites, runs and audits as tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD

from fastbat.cli.listing import print_json
from fastbat.console import print_rows
from fastbat.errors import InputError
from fastbat.files import check_new
from fastbat.progress import say
from fastbat.results import ENDINGS, claims, differences, gradients, table, write_table


def export_results_command(
    *folders: Path,
    out: Annotated[Path, Parameter(alias="-o")],
    of: Literal["accuracies", "gradients"] = "accuracies",
) -> None:
    """Write every accuracy as a row of a table: of one model, attack and budget, over all seeds.

    Parameters
    ----------
    folders
        Folders of suites, run directories, folders with an audit's records, or folders that hold these.
    out
        The .csv or .parquet file; one that exists is replaced.
    of
        accuracies, or gradients: what closer looks measured of the paper's Appendix E.
    """
    write({"accuracies": table, "gradients": gradients}[of], folders, out)


def compare_command(*folders: Path, out: Annotated[Path, Parameter(alias="-o")]) -> None:
    """Write the difference of every two arms as a row of a table: paired over images and seeds, with its interval.

    Parameters
    ----------
    folders
        As of `fastbat suite export`.
    out
        The .csv or .parquet file; one that exists is replaced.
    """
    write(differences, folders, out)


def claims_command(*folders: Path, json: bool = False) -> None:
    """Give each empirical claim of the paper a verdict by what was measured: held, did not hold, cannot be decided.

    Parameters
    ----------
    folders
        As of `fastbat suite export`.
    json
        Print one JSON object, with the comparisons, instead of a table.
    """
    if not folders:
        raise InputError("no folder is named; name those of suites or runs: fastbat suite claims DIR")
    judged = claims(*folders)
    if json:
        print_json({"claims": judged})
        return
    made = sorted((claim for claim in judged if claim["made"]), key=lambda claim: -int(claim["made"]))
    rows = [[str(each[name]) for name in ("verdict", "claim", "held", "made", "of", "supported")] for each in made]
    heads = ("verdict", "claim", "held", "made", "of", "in the paper")
    print_rows(heads, rows, text=("verdict", "claim"), least=("in the paper", "of"), box=SIMPLE_HEAD)
    missing = sum(not each["made"] and not each["reason"] for each in judged)
    print(f"{missing} of {len(judged)} claims have no comparison here")
    for each in judged:
        if each["reason"]:
            print(f"{each['verdict']}: {each['claim']} {each['reason']}")


def write(rows_of: Callable[..., list[dict[str, Any]]], folders: tuple[Path, ...], out: Path) -> None:
    """Write the rows of a table of `folders` to `out`."""
    if not folders:
        raise InputError("no folder is named; name those of suites, runs or audits, and a file: DIR -o results.csv")
    check_new(out, ENDINGS, "a table")
    rows = rows_of(*folders)
    say(f"wrote {len(rows)} rows to {write_table(rows, out)}")
