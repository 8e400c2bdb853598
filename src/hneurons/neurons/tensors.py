"""Values that are a JSON file with a tensor file beside it: neuron sets and detectors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hneurons.core.artifacts import SCHEMA_VERSION
from hneurons.core.files import checked_json, data_hash, read_checked

FILES = "files"
_FIELDS = {"schema_version", FILES}


def pack_tensors(row: Mapping[str, Any], json_name: str, tensor_name: str, tensors: bytes) -> dict[str, bytes]:
    """Both files by name, the tensors first: the JSON has a checksum of its own and the hash of the tensors."""
    whole = {"schema_version": SCHEMA_VERSION, **row, FILES: {tensor_name: data_hash(tensors)}}
    return {tensor_name: tensors, json_name: checked_json(whole)}


def unpack_tensors(
    folder: Path, json_name: str, tensor_name: str, fields: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The JSON's `fields` and the tensors; files of an earlier version, without hashes, are read as they are.

    Raises `ValueError` where either was changed after it was written, and for a field that is missing or unknown;
    `OSError` or safetensors' own error for what cannot be read.
    """
    from safetensors.numpy import load

    row = read_checked(folder / json_name)
    odd = sorted({*row}.difference(fields, _FIELDS)) + sorted(set(fields).difference(row))
    if odd:
        raise ValueError(f"{json_name} has no '{odd[0]}'" if odd[0] in fields else f"{json_name} has '{odd[0]}'")
    data = (folder / tensor_name).read_bytes()
    if FILES in row and row[FILES] != {tensor_name: data_hash(data)}:
        raise ValueError(f"{tensor_name} was changed after it was written")
    return row, load(data)
