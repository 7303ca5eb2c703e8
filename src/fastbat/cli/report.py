"""fastbat report: records on disk as one page."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fastbat.errors import InputError
from fastbat.files import check_page
from fastbat.progress import say


def report_command(*folders: Path, out: Annotated[Path, Parameter(alias="-o")], title: str | None = None) -> None:
    """Write the records of suites, runs and audits as one self-contained HTML page.

    Parameters
    ----------
    folders
        Folders of `fastbat suite run`, run directories, folders with an audit's records, or folders that hold these.
    out
        The .html file; one that exists is replaced.
    title
        Title of the page; made from what was compared unless given.
    """
    if not folders:
        raise InputError("no folder is named; name those of suites, runs or audits: fastbat report DIR -o report.html")
    check_page(out)
    from fastbat.report import write_report

    say(f"wrote {write_report(folders, out, title)}")
