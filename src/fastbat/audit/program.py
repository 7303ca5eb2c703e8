"""A torch.export program of somebody else, opened without running anything but tensor operations.

torch.export.load unpickles what it finds in the archive, looks up each operation by name, whatever the name, and
evaluates its shapes, guards and names as Python. So every file and text is compared with what an export of tensors
writes, and all else is refused. torch is given an archive of what was compared, as it may find others in the bytes.
"""

import io
import json
import logging
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastbat.errors import InputError

MEMBER = re.compile(
    r"archive_(format|version)|byteorder|\.data/(version|serialization_id)|models/model\.json|extra/.+"
    r"|data/weights/(weight_[0-9]+|model_weights_config\.json)|data/constants/(tensor_[0-9]+|model_constants_config\.json)"
    r"|data/(weights|constants|sample_inputs)/model\.pt"
)
PAYLOAD = re.compile(r"(weight|tensor)_[0-9]+")
OPERATOR = re.compile(
    r"torch\.ops\.([a-z]\w*\.\w+\.[A-Za-z0-9]\w*|higher_order\.[a-z]\w*)|torch\.sym_[a-z]+|math\.[a-z]\w*"
    r"|_operator\.(eq|ne|le|ge|lt|gt|neg|pos|abs|mul|add|sub|floordiv|truediv|mod|pow|and_|or_|lshift|rshift|getitem)"
)
NAME = re.compile(r"(?!__enum__|default_factory_)[\w.]*")  # these two would import a module
QUOTED = re.compile(r"L\['\w+'\](\.size\(\)\[[0-9]+\])?|Symbol\('[a-z]+[0-9]+'")  # an input, or the name of a size
SHAPE_WORD = re.compile(
    r"[a-z]+[0-9]+|Integer|Float|True|False|positive|nonnegative|negative|integer|real|Add|Mul|Pow|Max|Min|Eq|Ne|Le"
    r"|Ge|Lt|Gt|And|Or|Not|FloorDiv|CeilDiv|CleanDiv|IntTrueDiv|PythonMod|Mod|ModularIndexing|Where|PowByNatural|torch|sym_[a-z]+|and|or|not"
)


def open_program(path: Path) -> nn.Module:
    """Return the program of a .pt2 file, which has one mode, the one it was exported in.

    Raises InputError where it is none, or would run code when it is opened.
    """
    archive = checked(path)
    logging.disable(logging.CRITICAL)  # torch tells of a damaged archive in many lines
    try:
        return torch.export.load(archive).module()
    except Exception as error:  # what a damaged archive raises is not documented
        why = str(error).strip().partition("\n")[0]
        raise InputError(f"{str(path)!r} is no program of this torch ({why}); export it anew") from error
    finally:
        logging.disable(logging.NOTSET)


def checked(path: Path) -> io.BytesIO:
    """Return an archive of the files of this one; InputError unless they hold nothing but tensors and operators."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            files = {name.partition("/")[2]: archive.read(name) for name in names}
        if len(files) < len(names) or len({name.partition("/")[0] for name in names}) != 1 or "" in files:
            raise ValueError("its files do not lie each once in one folder")
        if "models/model.json" not in files:
            raise ValueError("it has no models/model.json")
        reason = next(code(files), None)
    except (zipfile.BadZipFile, ValueError, OSError, RecursionError) as error:
        raise InputError(f"{str(path)!r} is not a whole .pt2 archive ({error}); export it anew") from error
    if reason is not None:
        raise InputError(
            f"{str(path)!r} would run code when opened: {reason}; have the network exported without that, "
            "with torch.export.save"
        )
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"model/{name}", content)
    copy.seek(0)
    return copy


def code(files: Mapping[str, bytes]) -> Iterator[str]:
    """Yield every reason why an archive of these files would run code."""
    for name, content in files.items():
        if not MEMBER.fullmatch(name):
            yield f"{name[:80]!r} is no file of a network of tensors"
        elif name.endswith(".pt") and content:
            try:
                torch.load(io.BytesIO(content), weights_only=True)
            except Exception as error:  # what it raises is not documented
                yield f"{name} holds more than tensors ({type(error).__name__})"
        elif name.endswith("_config.json"):
            for entry in dicts(json.loads(content.decode())):
                if entry.get("use_pickle") or not PAYLOAD.fullmatch(str(entry.get("path_name", "tensor_0"))):
                    yield f"{name} names an object, {str(entry.get('path_name'))[:80]!r}"
        elif name == "models/model.json":
            yield from code_of_graph(json.loads(content.decode()))


def code_of_graph(graph: Any) -> Iterator[str]:
    """Yield every reason why the graph of a program would run code."""
    for entry in dicts(graph):
        called = [entry["target"]] if "inputs" in entry and "target" in entry else []
        called += [entry["as_operator"]] if "as_operator" in entry else []
        yield from (f"it calls {str(each)[:80]}" for each in called if not OPERATOR.fullmatch(str(each)))
    yield from (f"it evaluates {text[:80]!r}" for text in texts(graph) if not plain(text))


def plain(text: str) -> bool:
    """Return whether a text is a name or the formula of a shape, which torch can evaluate safely."""
    text = QUOTED.sub("s0", text)
    words = re.findall(r"[^\W\d]\w*", text)
    formula = re.fullmatch(r"[\w (),=!+*/%<>.-]*", text) and all(SHAPE_WORD.fullmatch(word) for word in words)
    return bool(NAME.fullmatch(text) or formula)


def texts(node: Any) -> Iterator[str]:
    """Yield every text within a JSON value, and in the JSON within it, but the arguments and comments of operations."""
    if isinstance(node, str) and node[:1] in ("[", "{"):
        yield from texts(json.loads(node))
    elif isinstance(node, str):
        yield node
    elif isinstance(node, list):
        for value in node:
            yield from texts(value)
    elif isinstance(node, dict):
        for key, value in node.items():
            comment = key == "metadata" and isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
            if not (comment or (key == "as_string" and isinstance(value, str))):
                yield from texts([key, value])


def dicts(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object within a JSON value."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from dicts(value)
