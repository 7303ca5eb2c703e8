"""What a file is, by its content: an ending says little, and a failed download has the right one."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from fastbat.errors import InputError

Kind = Literal["safetensors", "torch", "program", "onnx"]

LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number that torch.save wrote before 1.6
PROGRAM = ("/models/model.json", "/archive_format", "/serialized_exported_program.json", "/constants.pkl")
AGAIN = "download or copy it again"
OF_NUMPY = "arrays of NumPy; have them saved as a state_dict of tensors, with torch.save or safetensors"
OTHERS: Mapping[bytes, str] = {  # by how the file begins
    b"version https://git-lfs": "is a pointer of Git LFS, not the file itself; get that with: git lfs pull",
    b"\x1f\x8b": "is a gzip archive; unpack it first",
    b"BZh": "is a bzip2 archive; unpack it first",
    b"\xfd7zXZ": "is an xz archive; unpack it first",
    b"\x28\xb5\x2f\xfd": "is a zstd archive; unpack it first",
    b"7z\xbc\xaf": "is a 7z archive; unpack it first",
    b"Rar!": "is a rar archive; unpack it first",
    b"\x89HDF": "is an HDF5 file, as Keras writes; fastbat measures networks of torch and ONNX",
    b"\x93NUMPY": f"holds {OF_NUMPY}",
    b"\x80": "is a pickle that torch.save did not write; only running code opens it: have the weights saved "
    "alone, with torch.save(model.state_dict(), FILE)",
}


def kind_of(path: Path) -> Kind:
    """Return what the file holds: safetensors, what torch.save wrote, a program of torch, or an ONNX model.

    Raises InputError, which says what it is instead, for every other file, and where it is empty, cut short or altered.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise InputError(f"{str(path)!r} is empty; {AGAIN}")
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") < 2**27:
        return "safetensors"
    if head.startswith(b"PK"):
        return kind_of_zip(path)
    if head.startswith(LEGACY_TORCH):
        return "torch"
    if (text := head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()).startswith(
        (b"<!doctype", b"<html", b"<?xml", b"<head")
    ):
        what = "an HTML page" if b"html" in text else "an XML text"
        raise InputError(f"{str(path)!r} is {what}, as a server sends where a download fails; {AGAIN}")
    for start, what in OTHERS.items():
        if head.startswith(start):
            raise InputError(f"{str(path)!r} {what}")
    if head[257:262] == b"ustar":
        raise InputError(f"{str(path)!r} is a tar archive; unpack it first")
    if path.suffix.lower() == ".onnx" or (head[:1] == b"\x08" and head[2:3] in (b"\x12", b"\x1a", b":", b"B")):
        return "onnx"
    raise InputError(f"{str(path)!r} holds no network that fastbat knows: it begins with {shown(head)}")


def kind_of_zip(path: Path) -> Kind:
    """Return what a zip archive holds; InputError where it is damaged, or holds no network."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [f"/{name}" for name in archive.namelist()]
            if min((entry.header_offset for entry in archive.infolist()), default=0):
                raise zipfile.BadZipFile("it ends within")  # what was found is an archive within this one
            damaged = archive.testzip()
    except Exception as error:  # what a damaged archive raises is not documented
        raise InputError(f"{str(path)!r} is damaged or cut short ({error}); {AGAIN}") from error
    if damaged:
        raise InputError(f"{str(path)!r} is damaged: its part {damaged!r} does not match its checksum; {AGAIN}")
    if any(name.endswith(PROGRAM) or "/code/" in name for name in names):
        return "program"
    if any(name.endswith("/data.pkl") for name in names):
        return "torch"
    if names and all(name.endswith(".npy") for name in names):
        raise InputError(f"{str(path)!r} holds {len(names)} {OF_NUMPY}")
    first = names[0].removeprefix("/") if names else "nothing"
    raise InputError(f"{str(path)!r} is a zip archive of {len(names)} files ({first}), not of weights; unpack it first")


def shown(head: bytes) -> str:
    """Return the first bytes as people read them."""
    try:
        return repr(head[:24].decode())
    except UnicodeDecodeError:
        return head[:8].hex(" ")
