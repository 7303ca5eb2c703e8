"""Which fastbat this is: its version, and the commit where it runs from a checkout."""

import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


@cache
def commit() -> str | None:
    """Return the commit of the checkout that this package lies in, "+" where files changed since; None elsewhere."""
    if not (CHECKOUT / ".git").exists():
        return None
    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def git(*words: str) -> str:
    """Return what git prints in the checkout."""
    done = subprocess.run(["git", "-C", str(CHECKOUT), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def versions(*packages: str) -> dict[str, str | None]:
    """Return the versions of fastbat, with its commit, and of these packages."""
    return {"fastbat": version("fastbat"), "commit": commit(), **{name: version(name) for name in packages}}
