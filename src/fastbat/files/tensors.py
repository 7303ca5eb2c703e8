"""Tensors on disk: safetensors files with a checksum. Nothing is pickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fastbat.errors import Damaged
from fastbat.files.paths import check_file
from fastbat.files.safe import replace
from fastbat.lazy import Tensor, torch


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any], kept: Path | None = None) -> None:
    """Write `tensors` and the JSON metadata `about`, with a SHA-256 over both, to a safetensors file, as `replace`."""
    from safetensors.torch import save

    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(about, sort_keys=True)
    replace(path, *in_order(save(stored, {"fastbat": text, "sha256": checksum(stored, text)})), kept=kept)


def in_order(data: bytes) -> tuple[bytes, bytes, memoryview]:
    """Return in parts the safetensors file `data`, its header sorted by name: equal weights make equal files."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little"), header, memoryview(data)[end:]


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and metadata of a file of `save_tensors`, on the CPU.

    Raises InputError where it is missing or not one of ours, Damaged where it was truncated or altered.
    """
    tensors, meta = read_safetensors(path)
    if "fastbat" not in meta:
        raise Damaged(f"{str(path)!r} has no fastbat metadata; only checkpoints written by fastbat say their model")
    return tensors, json.loads(meta["fastbat"])


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and metadata of any safetensors file, on the CPU; one of ours must match its checksum.

    Raises InputError where it is missing, Damaged where it was truncated or altered.
    """
    check_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator of its own)
    except (SafetensorError, OSError) as error:
        raise Damaged(f"{str(path)!r} is not a whole safetensors file ({error}); copy it again") from error
    if "fastbat" in meta and meta.get("sha256") != checksum(tensors, meta["fastbat"]):
        raise Damaged(f"{str(path)!r} does not match its checksum: it was altered or damaged; copy it again")
    return tensors, meta


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file, without its tensors; nothing where there is none to read."""
    with path.open("rb") as file, suppress(ValueError, OverflowError, AttributeError):
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return dict(header.get("__metadata__", {}))
    return {}


def checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of `tensors` and over `text`, in hexadecimal."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].cpu()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
