"""IDX, the format of MNIST."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

_IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 64  # NumPy's own limit
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20


def load_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an array from an IDX file, the format of MNIST.

    Parameters
    ----------
    path : path-like
        The file, plain or compressed by gzip; which of them is seen from its content, not its name.

    Returns
    -------
    ndarray
        The file's array, writable, in C order and the machine's byte order: of dtype uint8, int8,
        int16, int32, float32 or float64, with as many dimensions as the file says.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not an IDX file, has elements of an unknown type, holds fewer or more bytes than
        its header promises, or is damaged gzip. No memory is taken for what a header merely
        promises.

    Notes
    -----
    The format [1]_: two zero bytes, the type of the elements, the number of dimensions d, then d
    sizes of four bytes each, then the elements in C order; numbers have the most significant byte
    first.

    References
    ----------
    .. [1] Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits".

    Examples
    --------
    >>> images = load_idx("train-images-idx3-ubyte.gz")  # doctest: +SKIP
    >>> images.shape, images.dtype  # doctest: +SKIP
    ((60000, 28, 28), dtype('uint8'))
    """
    name = repr(os.fspath(path))
    with open(path, "rb") as file:
        try:
            if file.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC):
                with gzip.GzipFile(fileobj=file) as unzipped:
                    return _read_idx(cast(BinaryIO, unzipped))
            return _read_idx(file)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{name} is truncated or damaged gzip: {error}") from error
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None


def header(path: str | os.PathLike[str]) -> tuple[int, tuple[int, ...], np.dtype[Any]] | None:
    """Return an IDX file's offset of the first number, shape and dtype; None if it is compressed.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_idx`.
    """
    with open(path, "rb") as file:
        if file.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC):
            return None
        try:
            shape, dtype = _read_header(file)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)!r} {error}") from None
        return file.tell(), shape, dtype


def _read_idx(stream: BinaryIO) -> NDArray[Any]:
    """Read a whole IDX stream; what is wrong with it is told as the end of a sentence."""
    shape, dtype = _read_header(stream)
    n_bytes = math.prod(shape) * dtype.itemsize
    content = _read_at_most(stream, n_bytes + 1)
    if len(content) != n_bytes:
        promise = f"shape {shape} of {dtype.name} takes {n_bytes} bytes"
        if len(content) > n_bytes:
            raise ValueError(f"has trailing bytes: {promise}")
        raise ValueError(f"is truncated: {promise}, not {len(content)}")

    array = np.frombuffer(content, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\x00\x00":
        raise ValueError("is not an IDX file: it does not begin with two zero bytes, type and rank")
    if magic[2] not in _IDX_DTYPES:
        raise ValueError(f"is an IDX file with elements of unknown type 0x{magic[2]:02X}")
    n_dimensions = magic[3]
    if n_dimensions > _MAX_DIMENSIONS:
        raise ValueError(f"has {n_dimensions} dimensions; at most {_MAX_DIMENSIONS} can be read")
    sizes = stream.read(4 * n_dimensions)
    if len(sizes) < 4 * n_dimensions:
        raise ValueError(f"is truncated within the sizes of its {n_dimensions} dimensions")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    return shape, np.dtype(_IDX_DTYPES[magic[2]])


def _read_at_most(stream: BinaryIO, n_bytes: int) -> bytearray:
    """Read up to `n_bytes`, in chunks: memory grows with what is there, not with `n_bytes`."""
    content = bytearray()
    while chunk := stream.read(min(_CHUNK_BYTES, n_bytes - len(content))):
        content += chunk
    return content
