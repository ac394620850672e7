"""Sources: which rows are read, whoever else reads the same files."""

import os
import pickle
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import cases_tables
import fastmlp as fm
from cases import same_bits
from fastmlp.sources import columnar, file_source

N = 203


def table(n=N):
    return np.random.default_rng(0).integers(-9, 9, (n, 5)).astype("float64")


def streamed(path, **options):
    """Return a source that keeps few blocks."""
    source = fm.sources.open(path, memory_limit=int(table().nbytes * 1.5), **options)
    assert source.in_memory is None
    return source


@pytest.fixture
def _small_buffers(monkeypatch):
    monkeypatch.setattr(file_source, "BUFFER_BYTES", 1000)
    monkeypatch.setattr(file_source, "BORDER_BYTES", 10)
    monkeypatch.setattr(file_source, "RUN_NUMBERS", 10)


def test_shards_without_rows(tmp_path):
    X = table()
    for k, (start, stop) in enumerate([(0, 0), (0, 90), (90, 90), (90, 90), (90, N), (0, 0)]):
        np.save(tmp_path / f"{k}.npy", X[start:stop])
    source = fm.sources.open(tmp_path / "*.npy")
    for rows in (slice(0, N), slice(89, 91), slice(90, 95), slice(90, 90)):
        out = np.full((rows.stop - rows.start, 5), np.nan)
        source.read(rows, out)
        assert same_bits(out, X[rows])
    assert same_bits(source[np.arange(N)[::-1]], X[::-1])


@pytest.mark.parametrize("shape", [(1, 5, 3), (5, 1, 3), (1, 1, 3), (4, 1)])
def test_columns_first(shape, tmp_path):
    """Fortran's order is C's where only one axis is longer than 1."""
    array = np.arange(float(np.prod(shape))).reshape(shape)
    with (tmp_path / "x.npy").open("wb") as file:
        header = {"descr": "<f8", "fortran_order": True, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(array.tobytes("F"))
    if sum(size > 1 for size in shape) > 1:
        with pytest.raises(ValueError, match="is in Fortran order"):
            fm.sources.open(tmp_path / "x.npy")
    else:
        assert_array_equal(fm.sources.open(tmp_path / "x.npy")[:], array.reshape(shape[0], -1))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.usefixtures("_small_buffers")
@pytest.mark.parametrize("extension", ["npy", "csv", "csv.gz", "svm", "npz", "compressed.npz"])
def test_the_position_of_files_is_left_alone(extension, tmp_path, monkeypatch):
    """A process shares it with those forked from it, which may read at the same time."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    X, options = table(), {}
    path = tmp_path / f"table.{extension}"
    if extension == "npy":
        np.save(path, X)
    else:
        path, options = cases_tables.write(tmp_path, extension, X)
        options["block_bytes"] = 300
    source = streamed(path, **options)
    source[:10]
    files = [
        int(one.name)
        for one in Path("/proc/self/fd").iterdir()
        if one.is_symlink() and os.readlink(one).startswith(str(tmp_path))
    ]
    assert files
    for file in files:
        os.lseek(file, 7, os.SEEK_SET)
    assert same_bits(source[:], X)
    assert {os.lseek(file, 0, os.SEEK_CUR) for file in files} == {7}


@pytest.mark.usefixtures("_small_buffers")
@pytest.mark.parametrize("extension", ["npy", "csv"])
@pytest.mark.parametrize(
    "index",
    [[], [-1, 0, -N], [True] * 3 + [False] * (N - 3), np.arange(4, dtype=np.uint8)],
    ids=["none", "from the end", "truth values", "bytes"],
)
def test_an_index_is_numpys(extension, index, tmp_path):
    X = table()
    np.save(tmp_path / "x.npy", X)
    np.savetxt(tmp_path / "x.csv", X, delimiter=",")
    source = streamed(tmp_path / f"x.{extension}")
    assert same_bits(source[index], X[index] if len(index) else X[:0])


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (5, "must be a slice or a vector of integers; got 5"),
        ([0.5], "must be a slice or a vector of integers"),
        ([[0]], "must be a slice or a vector of integers"),
        ([N], "there is no row 203 in a source of 203 rows"),
        ([-N - 1], "there is no row -204"),
        ([True], "rows has 1 truth values, the source 203 rows"),
    ],
)
def test_no_such_rows(index, message, tmp_path):
    np.save(tmp_path / "x.npy", table())
    with pytest.raises(IndexError, match=message):
        fm.sources.open(tmp_path / "x.npy")[index]


@pytest.mark.usefixtures("_small_buffers")
@pytest.mark.parametrize("extension", cases_tables.FORMATS)
def test_copies_by_pickle(extension, tmp_path):
    """They open files anew, where they do not have all rows."""
    X = table()
    path, options = cases_tables.write(tmp_path, extension, X)
    if extension not in cases_tables.COLUMNAR:
        options["block_bytes"] = 300
    source, in_memory = streamed(path, **options), fm.sources.open(path, **options)
    source[:]
    content = pickle.dumps(source)
    copy = pickle.loads(content)
    source.close()
    assert same_bits(copy[:], X)
    assert copy.where(N - 1) == in_memory.where(N - 1)
    copy.close()
    path.write_bytes(b"")
    assert same_bits(pickle.loads(pickle.dumps(in_memory))[:], X)
    with pytest.raises(OSError, match="has changed since it was opened"):
        pickle.loads(content)


@pytest.mark.usefixtures("_small_buffers")
def test_what_is_kept_is_not_pickled(tmp_path, monkeypatch):
    monkeypatch.setattr(file_source, "BUFFER_BYTES", -(10**6))
    path, options = cases_tables.write(tmp_path, "csv", table())
    source = streamed(path, **options, block_bytes=300)
    before = len(pickle.dumps(source))
    source[:]
    assert len(pickle.dumps(source)) < before + 100


@pytest.mark.usefixtures("_small_buffers")
def test_interrupt_while_a_row_group_is_read(tmp_path, monkeypatch):
    """No rows are taken for others afterwards."""
    X = table()
    path, options = cases_tables.write(tmp_path, "parquet", X)
    source = streamed(path, **options, block_bytes=20 * 40)
    source[0:20]
    take = columnar._Stream.take

    def interrupted(self, n_rows):
        yield from take(self, min(n_rows, 3))
        if n_rows > 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(columnar._Stream, "take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            source[20:40]
    assert same_bits(source[20:60], X[20:60])
