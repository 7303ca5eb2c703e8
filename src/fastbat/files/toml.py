"""Settings in TOML: read, with the mistakes that Windows paths lead to."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastbat.errors import InputError

BACKSLASH = r"a backslash within double quotes starts an escape: write C:/data, or 'C:\data' in single quotes"


def read_toml(path: Path) -> dict[str, Any]:
    """Return the table of a TOML file; raises InputError where it is missing, not TOML, or a path in it is garbled."""
    text = ""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        table = tomllib.loads(text)
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{str(path)!r} is not text in UTF-8; save it as UTF-8") from error
    except ValueError as error:
        at = re.search(r"at line (\d+)", str(error))
        escapes = at is not None and "\\" in text.split("\n")[int(at[1]) - 1]
        raise InputError(f"{str(path)!r} is not TOML: {error}{f'; {BACKSLASH}' if escapes else ''}") from error
    for value in strings(table):
        if re.search(r"[\x00-\x1f]", value):
            raise InputError(f"{value!r} in {str(path)!r} holds a control character; {BACKSLASH}")
    return table


def strings(value: Any) -> Iterator[str]:
    """Yield every string within a TOML value."""
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(each)
