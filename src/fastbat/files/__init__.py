"""What lies on disk: written so that a crash loses nothing, checked when it is read, never unpickled.

Weights and optimizer state are safetensors, everything else is JSON or TOML.
"""

from typing import TYPE_CHECKING

from fastbat.lazy import export_lazily

if TYPE_CHECKING:
    from fastbat.files.paths import as_path, check_file, check_new, check_page, check_writable
    from fastbat.files.records import append_record, read_json, read_records, write_json, write_records
    from fastbat.files.safe import locked, remove_beside, replace, replacing
    from fastbat.files.tensors import checksum, load_tensors, read_metadata, read_safetensors, save_tensors
    from fastbat.files.toml import read_toml

__all__ = [
    "append_record", "as_path", "check_file", "check_new", "check_page", "check_writable", "checksum", "load_tensors",
    "locked", "read_json", "read_metadata", "read_records", "read_safetensors", "read_toml", "remove_beside",
    "replace", "replacing", "save_tensors", "write_json", "write_records",
]  # fmt: skip

export_lazily(__name__)
