"""Files of numbers and what they mean: safetensors, written as a whole or not at all.

The numbers are the file's tensors. What they mean is a tree of dicts, lists, numbers, strings and
arrays, kept as JSON in the file's metadata, where each array is the name of a tensor. A digest
covers both, so that no flipped bit goes unnoticed. Nothing in a file is ever executed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import reprlib
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

import fastmlp

# Raised whenever an older fastmlp would misread a newer file.
FORMAT = 1
# By safetensors' names.
DTYPES = {
    "BOOL": "bool",
    "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64",
    "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
    "F16": "float16", "F32": "float32", "F64": "float64",
}  # fmt: skip
_CODES = {np.dtype(name): code for code, name in DTYPES.items()}
# More than any description has; each level takes some of Python's stack.
MOST_NESTED = 64
MOST_HEADER_BYTES = 100_000_000  # safetensors' own limit


class FormatError(ValueError):
    """A file is not what it should be: truncated, corrupted, of another format or version."""


def checked_path(name: str, value: Any) -> Path:
    """Return a path."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a str or os.PathLike; got {reprlib.repr(value)}")
    return Path(value)


def require_place(path: Path, name: str = "path") -> None:
    """Raise where a path is no place for a file."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{name} must be in a folder that exists; got {str(path)!r}")
    if path.is_dir():
        raise IsADirectoryError(f"{name} must be a file; got the folder {str(path)!r}")


# Writing --------------------------------------------------------------------------------------


def write(path: Path, kind: str, tree: dict[str, Any], keep: int = 1) -> None:
    """Write a tree, in place of what the file was before.

    Parameters
    ----------
    path : Path
    kind : str
        What the tree describes.
    keep : int, default=1
        How many to keep: earlier files are `path` with ".1" (the last one), ".2" ... at its end.
    tree : dict
        Of None, bool, int, float, str, lists, tuples, NumPy scalars and arrays of numbers, and
        dicts of these whose keys are strings that do not begin with "$".

    Raises
    ------
    TypeError, ValueError
        For anything else in the tree, or too deeply nested; nothing is written then.
    OSError
        Where the file cannot be written; it is as it was then.
    """
    tensors: dict[str, np.ndarray] = {}
    content = encoded(tree, tensors)
    _named_tensors(content)  # raises for what could not be read
    about = {
        "format": FORMAT, "kind": kind, "written_by": fastmlp.__version__, "content": content,
    }  # fmt: skip
    description = json.dumps(about, allow_nan=False)
    # safetensors wants the widest numbers first, so that all are aligned.
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    tensors = {name: tensors[name] for name in names}
    metadata = {"fastmlp": description, "sha256": _digest(description, tensors)}
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        code, shape = _CODES[tensor.dtype], list(tensor.shape)
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MOST_HEADER_BYTES:
        what = f"what describes the numbers takes {len(text)} bytes, more than safetensors reads"
        raise OSError(errno.EFBIG, what, str(path))
    with replacing(path, keep) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(_bytes(tensor))


@contextlib.contextmanager
def replacing(path: Path, keep: int = 1) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` in the end, if all goes well; see `write`.

    Whoever reads `path`, even after a crash of the system, finds the old file or the new one.
    """
    path = Path(os.path.realpath(path))  # of a link, what it leads to
    if path.exists() and not path.is_file():  # a device, which is not to be replaced
        raise FileExistsError(f"path must be a file; got {str(path)!r}, which is none")
    temporary = _temporary(path)
    try:
        with temporary.open("xb") as file:
            if path.exists():
                shutil.copymode(path, temporary)  # before there is anything to read
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            free = 1  # the first number that is not taken, or the last to keep
            while free < keep - 1 and earlier(path, free).exists():
                free += 1
            for number in range(free, 1, -1):
                with contextlib.suppress(FileNotFoundError):
                    earlier(path, number - 1).replace(earlier(path, number))
            if keep > 1:
                copy(path, earlier(path))
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def copy(path: Path, other: Path) -> None:
    """Have the same file at another place of its folder, in place of what is there, as a whole."""
    temporary = _temporary(path)
    try:
        try:
            os.link(path, temporary)
        except OSError:  # not all file systems have links
            with path.open("rb") as source, temporary.open("xb") as target:
                shutil.copymode(path, temporary)
                shutil.copyfileobj(source, target)
                target.flush()
                os.fsync(target.fileno())
        temporary.replace(other)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def earlier(path: Path, number: int = 1) -> Path:
    """Return where the file before the newest is kept, or one that is so many before."""
    return path.with_name(f"{path.name}.{number}")


def _temporary(path: Path) -> Path:
    return path.with_name(f"{_beginning(path)}{uuid.uuid4().hex}.tmp")


def _beginning(path: Path) -> str:
    """Return what names of a file's temporary ones begin with: of no other's, and not too long."""
    return f".{path.name[:32]}.{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}."


def _sync_folder(folder: Path) -> None:
    """Have the names of a folder's files on the disk, where the system can do that."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(path: Path) -> None:
    """Remove the parts of a file that killed processes have left beside it."""
    path = Path(os.path.realpath(path))
    pattern = re.compile(rf"{re.escape(_beginning(path))}[0-9a-f]{{32}}\.tmp")
    with contextlib.suppress(OSError):
        for other in path.parent.iterdir():
            if pattern.fullmatch(other.name):
                other.unlink(missing_ok=True)


def encoded(value: Any, tensors: dict[str, np.ndarray], place: str = "") -> Any:
    """Return a tree as JSON has it, its arrays put into `tensors`.

    Raises
    ------
    TypeError
        For what a file cannot hold.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, list):
        return [encoded(one, tensors, f"{place}.{i}") for i, one in enumerate(value)]
    if isinstance(value, tuple):
        return {"$tuple": encoded(list(value), tensors, place)}
    if isinstance(value, np.ndarray) and value.dtype.newbyteorder("=") in _CODES:
        while place in tensors:  # keys may have dots
            place += "'"
        tensors[place] = np.ascontiguousarray(value, value.dtype.newbyteorder("="))
        tensors[place] = tensors[place].reshape(value.shape)  # 0-d ones have become 1-d
        return {"$tensor": place}
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or key.startswith("$"):
                raise TypeError(f"{place or 'the tree'} has a key that files cannot hold: {key!r}")
        inside = f"{place}." if place else ""
        return {key: encoded(one, tensors, f"{inside}{key}") for key, one in value.items()}
    raise TypeError(f"{place or 'the tree'} is of a type that files cannot hold: {value!r}")


def _digest(description: str, tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(description.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype.name} {tensor.shape}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: np.ndarray) -> memoryview:
    return tensor.reshape(-1).view(np.uint8).data


# Reading --------------------------------------------------------------------------------------


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the kind and the tree of a file that `write` has written.

    Raises
    ------
    FormatError
        Where it is anything else. No more memory is used than a small multiple of its size.
    OSError
        Where it cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe might never end
        raise FormatError(f"{path} is not a file")
    path.open("rb").close()  # raises what is usual where that is not allowed
    about, is_whole, tensors = _content(path)
    kind, tree = about.get("kind"), about.get("content")
    if not is_whole:
        raise FormatError(f"{path} is corrupted: its numbers do not have the digest it tells")
    if not (isinstance(kind, str) and isinstance(tree, dict)):
        raise FormatError(f"{path} is corrupted: it does not say what it describes")
    return kind, _decoded(path, tree, tensors)


def written_by(path: Path) -> str:
    """Return the version of fastmlp that has written a file; raises as `read` does."""
    return str(_content(path)[0].get("written_by"))


@contextlib.contextmanager
def understanding(path: Path, otherwise: str) -> Iterator[None]:
    """Raise FormatError where what a file holds turns out to be wrong; `otherwise` says what it is.

    For whoever makes something of a tree: it may be of any shape.
    """
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        raise FormatError(f"{path} {otherwise}: {type(error).__name__}: {error}") from error


def _content(path: Path) -> tuple[dict[str, Any], bool, dict[str, np.ndarray]]:
    """Return the description, whether the digest is right, and the tensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as file:
            metadata = file.metadata() or {}
            description = metadata.get("fastmlp")
            if description is None:
                raise FormatError(f"{path} is a safetensors file, but not one of fastmlp")
            about = _parsed(path, description)
            names = set(file.keys())
            if names != _named_tensors(about.get("content")):  # nothing is read in vain
                raise ValueError("its tensors are not those that it describes")
            tensors = {name: _tensor(file, name) for name in names}
    except FormatError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        what = "is truncated, corrupted or no safetensors file"
        raise FormatError(f"{path} {what}: {error}") from None
    return about, _digest(description, tensors) == metadata.get("sha256"), tensors


def _tensor(file: Any, name: str) -> np.ndarray:
    part = file.get_slice(name)
    dtype, shape = DTYPES.get(part.get_dtype()), part.get_shape()
    if dtype is None:
        raise ValueError(f"a tensor is of {part.get_dtype()}")
    np.empty(shape, dtype)  # raises MemoryError; safetensors would panic
    tensor: np.ndarray = file.get_tensor(name)
    return tensor


def _named_tensors(content: Any, depth: int = 0) -> set[str]:
    """Return the names of the tensors that a description has."""
    if depth > MOST_NESTED:
        raise ValueError("its description is nested too deeply")
    names: set[str] = set()
    if isinstance(content, list):
        for one in content:
            if isinstance(one, (list, dict)):
                names |= _named_tensors(one, depth + 1)
    elif isinstance(content, dict):
        for key, one in content.items():
            if key == "$tensor" and isinstance(one, str):
                names.add(one)
            elif isinstance(one, (list, dict)):
                names |= _named_tensors(one, depth + 1)
    return names


def _parsed(path: Path, description: str) -> dict[str, Any]:
    try:
        about = json.loads(
            description, parse_constant=_no_constant, object_pairs_hook=_without_duplicates
        )
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is corrupted: its description is no JSON: {error}") from None
    version = about.get("format") if isinstance(about, dict) else None
    if type(version) is not int or version < 1:
        raise FormatError(f"{path} is corrupted: it does not tell its format")
    if version > FORMAT:
        raise FormatError(
            f"{path} has format {version}, written by fastmlp {about.get('written_by')}; fastmlp "
            f"{fastmlp.__version__} reads formats up to {FORMAT}"
        )
    described: dict[str, Any] = about
    return described


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise ValueError("a key is there twice")
    return unique


def _decoded(path: Path, value: Any, tensors: dict[str, np.ndarray]) -> Any:
    """Return a tree from what JSON has of it."""
    if isinstance(value, list):
        return [_decoded(path, one, tensors) for one in value]
    if not isinstance(value, dict):
        return value
    if not any(key.startswith("$") for key in value):
        return {key: _decoded(path, one, tensors) for key, one in value.items()}
    (key, content), *others = value.items()
    if not others:
        if key == "$tensor" and isinstance(content, str) and content in tensors:
            return tensors[content]
        if key == "$float" and content in ("nan", "inf", "-inf"):
            return float(content)
        if key == "$tuple" and isinstance(content, list):
            return tuple(_decoded(path, content, tensors))
    raise FormatError(f"{path} is corrupted: it describes something by {str(key)[:40]!r}")
