import gzip
import os
import re
import struct
import tracemalloc
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from fastmlp.sources import load_idx

TYPES = {
    "uint8": 0x08,
    "int8": 0x09,
    "int16": 0x0B,
    "int32": 0x0C,
    "float32": 0x0D,
    "float64": 0x0E,
}


def header(type_code, shape):
    return struct.pack(f">HBB{len(shape)}I", 0, type_code, len(shape), *shape)


def idx_bytes(array):
    return (
        header(TYPES[array.dtype.name], array.shape)
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


PLAIN = idx_bytes(np.arange(6, dtype=np.int16).reshape(2, 3))


@pytest.fixture(params=["plain", "gzip"])
def write(request, tmp_path):
    """Return a function that writes bytes to a file, in both forms, and returns its path."""

    def write_bytes(content):
        path = tmp_path / "some-idx"
        path.write_bytes(gzip.compress(content) if request.param == "gzip" else content)
        return path

    return write_bytes


@given(
    array=st.sampled_from(sorted(TYPES)).flatmap(
        lambda name: hnp.arrays(name, hnp.array_shapes(min_dims=0, max_dims=5, min_side=0))
    ),
    zipped=st.booleans(),
)
@example(array=np.zeros((0, 3), np.float32), zipped=True)
@example(array=np.ones((2,) * 9, np.int32), zipped=False)
@example(array=np.arange(3 << 20).astype(np.uint8), zipped=True)  # several chunks
def test_idx_round_trip(tmp_path_factory, array, zipped):
    # The names lie about the compression: the content decides.
    path = tmp_path_factory.mktemp("idx") / ("plain.gz" if not zipped else "zipped")
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content) if zipped else content)

    loaded = load_idx(path)

    assert loaded.shape == array.shape
    assert loaded.dtype == array.dtype
    assert loaded.dtype.isnative
    assert loaded.flags.c_contiguous
    assert loaded.flags.writeable
    assert loaded.tobytes() == array.tobytes()  # NaNs too


def test_idx_path_may_be_a_string(write):
    assert_array_equal(load_idx(str(write(PLAIN))), [[0, 1, 2], [3, 4, 5]])


def test_idx_missing_file(tmp_path):
    path = tmp_path / "no-such-file"
    with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
        load_idx(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an IDX file"),
        (b"\x00\x00\x08", "is not an IDX file"),
        (b"P5 28 28 255\n", "is not an IDX file"),
        (b"\x00\x01" + PLAIN[2:], "is not an IDX file"),
        (header(0x0A, (1,)) + b"\x00", "unknown type 0x0A"),
        (header(0x08, (1,) * 65) + b"\x00", "has 65 dimensions; at most 64"),
        (PLAIN[:11], "is truncated within the sizes of its 2 dimensions"),
        (PLAIN[:12], r"is truncated: shape \(2, 3\) of int16 takes 12 bytes, not 0"),
        (PLAIN[:-1], r"is truncated: shape \(2, 3\) of int16 takes 12 bytes, not 11"),
        (PLAIN + b"\x00", r"has trailing bytes: shape \(2, 3\) of int16 takes 12 bytes"),
    ],
)
def test_idx_malformed(write, content, message):
    path = write(content)
    with pytest.raises(ValueError, match=f"^{re.escape(repr(str(path)))} .*{message}"):
        load_idx(path)


@pytest.mark.parametrize("damage", ["truncated", "checksum", "trailing", "stream"])
def test_idx_damaged_gzip(tmp_path, damage):
    zipped = gzip.compress(PLAIN)
    damaged = {
        "truncated": zipped[:-1],
        "checksum": zipped[:-8] + bytes(4) + zipped[-4:],
        "trailing": zipped + b"more",
        "stream": zipped[:10] + b"\xff" * 8 + zipped[18:],
    }
    path = tmp_path / "idx.gz"
    path.write_bytes(damaged[damage])
    with pytest.raises(ValueError, match="is truncated or damaged gzip"):
        load_idx(path)


@pytest.mark.parametrize(
    "shape", [(2**32 - 1,), (2**32 - 1,) * 3, (2**32 - 1,) * 64, (0,) + (2**32 - 1,) * 4]
)
def test_idx_hostile_sizes_take_no_memory(write, shape):
    path = write(header(0x0E, shape) + bytes(8))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"is truncated|has trailing bytes"):
            load_idx(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_idx_empty_array_of_impossible_shape(write):
    path = write(header(0x08, (0,) + (2**32 - 1,) * 4))
    with pytest.raises(ValueError, match=re.escape(repr(str(path)))):
        load_idx(path)


def test_idx_reads_mnist():
    root = Path(__file__).parents[1]
    folder = Path(os.environ.get("FASTMLP_MNIST") or root.parent / "shared" / "data" / "mnist")
    if not folder.is_dir():
        pytest.skip(f"no MNIST in {folder}: set FASTMLP_MNIST to the folder of its IDX files")

    (images_path,) = folder.glob("train-images-idx3-ubyte*")
    (labels_path,) = folder.glob("train-labels-idx1-ubyte*")
    images, labels = load_idx(images_path), load_idx(labels_path)

    assert images.shape == (60000, 28, 28)
    assert images.dtype == labels.dtype == np.uint8
    assert_array_equal(labels[:10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4])
    assert labels.shape == (60000,)
    assert_array_equal(np.bincount(labels)[:3], [5923, 6742, 5958])
    assert (images.min(), images.max()) == (0, 255)
