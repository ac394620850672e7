"""Sources: what is opened, row by row; what is missing, has changed, or is too large."""

import os
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import cases_tables
import fastmlp as fm
from cases import run_child, same_bits
from fastmlp.sources import file_source, tables
from fastmlp.sources.opening import n_bytes

N, WIDTH = 203, 5
FORMATS = ("npy", *cases_tables.FORMATS)
every_format = pytest.mark.parametrize("extension", FORMATS)


def numbers(dtype="float32", n=N, seed=0):
    """Return X (n, WIDTH) with some zeros, as sparse formats like them."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, WIDTH))
    X[rng.random(X.shape) < 0.3] = 0
    return (X if np.dtype(dtype).kind == "f" else 40 * abs(X)).astype(dtype)


def write(folder, extension, X, y=None, **options):
    """Write a table; return a path and options for `open`."""
    if extension == "npy":
        path = folder / f"{options.get('stem', 'table')}.npy"
        np.save(path, X if y is None else np.column_stack([X, y]).astype(X.dtype))
        return path, {} if y is None else {"target": -1}
    return cases_tables.write(folder, extension, X, y, **options)


@pytest.fixture(params=[False, True], ids=["in memory", "streamed"])
def streams(request, monkeypatch):
    """Whether rows that are decoded in blocks are read again and again, few kept."""
    if request.param:
        monkeypatch.setattr(file_source, "BUFFER_BYTES", 1000)
        monkeypatch.setattr(file_source, "shuffle_bytes", lambda table: 0)
    return request.param


def opened(path, streams, **options):
    return fm.sources.open(path, memory_limit=6000 if streams else "1 GB", **options)


# Rows ----------------------------------------------------------------------------------------


@every_format
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_of_every_format(extension, dtype, streams, tmp_path, rng):
    X, y = numbers(dtype), rng.integers(0, 3, N)
    path, options = (
        write(tmp_path, extension, X, y, rows_per_block=17)
        if extension in cases_tables.COLUMNAR
        else write(tmp_path, extension, X, y)
    )
    with opened(path, streams, **options) as source:
        assert source.shape == (N, WIDTH)
        assert len(source) == N
        assert source.dtype == dtype
        assert_array_equal(source.y, y)
        assert source.y.dtype == np.uint8
        assert source.n_dropped == 0
        assert same_bits(source[:], X)
        assert same_bits(source[7:8], X[7:8])
        assert source[7:7].shape == (0, WIDTH)
        for _ in range(5):
            rows = rng.integers(0, N, rng.integers(1, 60))
            assert same_bits(source[rows], X[rows])
            start, stop = np.sort(rng.integers(0, N + 1, 2))
            out = np.full((stop - start, 2 * WIDTH), np.nan)[:, ::2]
            source.read(slice(int(start), int(stop)), out)
            assert_array_equal(out, X[start:stop])


@pytest.mark.parametrize("dtype", ["uint8", ">i2", "int64", "float16", "bool"])
def test_dtypes_on_disk(dtype, tmp_path):
    X = numbers("uint8").astype(dtype)
    np.save(tmp_path / "x.npy", X)
    source = fm.sources.open(tmp_path / "x.npy")
    assert source.dtype == np.dtype(dtype).newbyteorder("=")
    assert_array_equal(source[:], X)
    out = np.full(X.shape, np.nan)
    source.read(np.arange(N)[::-1], out)
    assert_array_equal(out, X[::-1])
    source = fm.sources.open(tmp_path / "x.npy", dtype="float32")
    assert same_bits(source[:], X.astype("float32"))


def test_columns_and_targets_within_rows(tmp_path):
    X = numbers("float64")
    np.save(tmp_path / "x.npy", X)
    source = fm.sources.open(tmp_path / "x.npy", target=1, columns=[-1, 0])
    assert_array_equal(source.y, X[:, 1])
    rows = np.array([9, 3, 3])
    assert_array_equal(source[rows], X[rows][:, [4, 0]])
    assert_array_equal(source[3:5], X[3:5][:, [4, 0]])
    assert_array_equal(fm.sources.open(tmp_path / "x.npy", target=1)[:], np.delete(X, 1, axis=1))


def test_images(tmp_path, rng):
    """IDX files, plain and compressed: a row is an image."""
    import gzip

    pixels = rng.integers(0, 256, (11, 4, 3), np.uint8)
    content = b"\x00\x00\x08\x03" + np.array(pixels.shape, ">u4").tobytes() + pixels.tobytes()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    (tmp_path / "images.idx.gz").write_bytes(gzip.compress(content))
    for name in ("train-images-idx3-ubyte", "images.idx.gz"):
        source = fm.sources.open(tmp_path / name)
        assert source.has_random_access
        assert_array_equal(source[np.array([5, 2])], pixels.reshape(11, 12)[[5, 2]])


@pytest.mark.parametrize("extensions", [("npy", "npy"), ("csv", "parquet", "npz"), ("svm", "svm")])
def test_shards(extensions, streams, tmp_path, rng):
    X, y = numbers("float64"), rng.standard_normal(N)
    ends = np.linspace(0, N, len(extensions) + 1).astype(int)
    paths = []
    for k, extension in enumerate(extensions):
        part = slice(ends[k], ends[k + 1])
        path, options = write(tmp_path, extension, X[part], y[part], stem=f"part-{k}")
        paths.append(path)
    if "npz" in extensions:
        options = {"target": "y"}
    source = opened(paths, streams, **options)
    assert_array_equal(source.y, y)
    assert same_bits(source[:], X)
    rows = rng.permutation(N)
    assert same_bits(source[rows], X[rows])
    if len({*extensions}) == 1:
        pattern = opened(tmp_path / f"part-*.{extensions[0]}", streams, **options)
        assert same_bits(pattern[rows], X[rows])


def test_shards_of_other_columns(tmp_path):
    np.save(tmp_path / "a.npy", numbers())
    np.save(tmp_path / "b.npy", numbers()[:, :4])
    with pytest.raises(ValueError, match=r"b\.npy has 4 columns of float32, .*a\.npy 5 of float32"):
        fm.sources.open(tmp_path / "*.npy")
    cases_tables.write(tmp_path, "csv", numbers(), stem="a")
    cases_tables.write(tmp_path, "csv", numbers()[:, :4], stem="b")
    with pytest.raises(ValueError, match=r"b\.csv has 4 columns, .*a\.csv 5"):
        fm.sources.open(tmp_path / "*.csv")


def test_pickle_and_close(tmp_path):
    np.save(tmp_path / "x.npy", numbers())
    source = fm.sources.open(tmp_path / "x.npy")
    copy = pickle.loads(pickle.dumps(source))
    source.close()
    assert same_bits(copy[:], numbers())
    assert same_bits(source[:], numbers())  # it opens again


def test_without_pread(tmp_path, monkeypatch, rng):
    """As on Windows."""
    np.save(tmp_path / "x.npy", numbers())
    monkeypatch.delattr(os, "pread")
    monkeypatch.delattr(os, "preadv")
    rows = rng.integers(0, N, 30)
    source = fm.sources.open(tmp_path / "x.npy")
    assert same_bits(source[rows], numbers()[rows])
    assert same_bits(source[7:50], numbers()[7:50])


# Targets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "dtype"),
    [
        ([0.0, 1, 1], "uint8"),
        ([-1.0, 1, 1], "int8"),
        ([0, 300, 5], "uint16"),
        ([0.5, 0.25, 3], "float32"),
        ([0.1, 0.25, 3], "float64"),
        ([-0.0, 1, 2], "float32"),
        ([2.0**40, 1, 2], "float32"),
    ],
)
def test_targets_take_as_little_as_they_can(y, dtype, tmp_path):
    np.save(tmp_path / "x.npy", np.column_stack([np.ones(3), y]))
    found = fm.sources.open(tmp_path / "x.npy", target=1).y
    assert found.dtype == dtype
    assert_array_equal(found, y)


def test_targets_grow(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "READ_BYTES", 16)
    y = np.array([1.0, 2, 300, -4, 0.5, 0.1])
    np.save(tmp_path / "x.npy", np.column_stack([np.ones(6), y]))
    assert_array_equal(fm.sources.open(tmp_path / "x.npy", target=1).y, y)


def test_labels(streams, tmp_path, rng):
    y = rng.choice(np.array(["cat", "dog", "horse"]), N)
    path, options = write(tmp_path, "csv", numbers(), y)
    assert_array_equal(opened(path, streams, **options).y, y)


# What is missing -----------------------------------------------------------------------------


@pytest.mark.parametrize("extension", ["npy", "csv", "parquet", "npz"])
def test_missing_numbers(extension, streams, tmp_path, rng):
    X, y = numbers("float64"), rng.standard_normal(N)
    X[[0, 17, 18, N - 1], [0, 2, 3, 4]] = np.nan
    if extension in ("npy", "csv"):
        y[50] = np.nan
    path, options = write(tmp_path, extension, X, y)
    with pytest.raises(ValueError, match=rf"table\.{extension}, (row 0|line 2): column .* is miss"):
        opened(path, streams, **options)
    source = opened(path, streams, on_missing="drop", **options)
    kept = ~(np.isnan(X).any(axis=1) | np.isnan(y))
    assert source.n_dropped == N - kept.sum()
    assert len(source) == kept.sum()
    assert "dropped" in repr(source)
    assert_array_equal(source.y, y[kept])
    assert same_bits(source[:], X[kept])
    rows = rng.integers(0, kept.sum(), 40)
    assert same_bits(source[rows], X[kept][rows])
    assert same_bits(source[3:30], X[kept][3:30])
    place = int(np.flatnonzero(kept)[20])
    assert source.where(20).endswith((f"row {place}", f"line {place + 2}"))


def test_a_missing_target(tmp_path):
    X = numbers("float64")
    X[9, 0] = np.nan
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(ValueError, match=r"x\.npy, row 9: the target is missing"):
        fm.sources.open(tmp_path / "x.npy", target=0)


def test_nothing_left(tmp_path):
    np.save(tmp_path / "x.npy", np.full((3, 2), np.nan))
    with pytest.raises(ValueError, match=r"x\.npy has no rows without NaN"):
        fm.sources.open(tmp_path / "x.npy", on_missing="drop")
    np.save(tmp_path / "x.npy", np.ones((0, 2)))
    with pytest.raises(ValueError, match=r"x\.npy has no rows"):
        fm.sources.open(tmp_path / "x.npy")


def test_infinity(streams, tmp_path):
    X = numbers("float64")
    X[3, 1], X[40, 2], X[41, 2] = np.nan, -np.inf, np.inf
    path, options = write(tmp_path, "csv", X)
    with pytest.raises(ValueError, match=r"table\.csv, line 42: column 'x2' is infinite"):
        opened(path, streams, on_missing="drop", **options)


def test_beyond_the_range_of_the_network(tmp_path):
    X = numbers("float64")
    X[40, 2] = 1e200
    np.save(tmp_path / "x.npy", X)
    source, net = fm.sources.open(tmp_path / "x.npy"), fm.Network([WIDTH, 1])
    with pytest.raises(ValueError, match=r"x\.npy, row 40, column 2 is 1e\+200, beyond .* float32"):
        net.predict(net.init(0), source)
    net = fm.Network([WIDTH, 1], dtype="float64")
    assert same_bits(net.predict(net.init(0), source), net.predict(net.init(0), X))


@given(dropped=st.sets(st.integers(0, 30)), data=st.data())
def test_rows_between_those_dropped(dropped, data, tmp_path_factory):
    X = np.arange(62.0).reshape(31, 2)
    X[[*dropped]] = np.nan
    kept = np.delete(X, [*dropped], axis=0)
    path = tmp_path_factory.mktemp("rows") / "x.npy"
    np.save(path, X)
    if len(kept) == 0:
        return
    source = fm.sources.open(path, on_missing="drop")
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(kept))] * 2)))
    assert_array_equal(source[start:stop], kept[start:stop])
    rows = data.draw(st.lists(st.integers(0, len(kept) - 1)))
    assert_array_equal(source[np.array(rows, int)], kept[np.array(rows, int)])


# Files that are not what they should be ------------------------------------------------------


@pytest.mark.parametrize("extension", ["npy", "csv", "parquet"])
def test_a_file_that_changes(extension, tmp_path, monkeypatch):
    monkeypatch.setattr(file_source, "BUFFER_BYTES", 1000)
    monkeypatch.setattr(file_source, "shuffle_bytes", lambda table: 0)
    path, options = write(tmp_path, extension, numbers())
    source = opened(path, True, **options)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(OSError, match=rf"table\.{extension} has changed since it was opened"):
        source[N - 5 : N]
    path.unlink()
    with pytest.raises(OSError, match=rf"table\.{extension} has vanished since it was opened"):
        source[np.array([N - 1, 0])]


def test_truncated_npy(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, numbers())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"x\.npy is truncated: shape \(203, 5\) of float32 takes"):
        fm.sources.open(path)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.asfortranarray(np.ones((3, 2))), "is in Fortran order"),
        (np.array([["a", "b"]]), "must hold real numbers; got dtype <U1"),
        (np.array(1.0), "holds one number, not rows"),
        (np.ones((2, 2), complex), "must hold real numbers"),
        (np.array([[None]]), "must hold real numbers"),
    ],
)
def test_arrays_that_are_no_rows(array, problem, tmp_path):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=rf"x\.npy.* {problem}"):
        fm.sources.open(tmp_path / "x.npy")


def test_no_npy(tmp_path):
    (tmp_path / "x.npy").write_bytes(b"PK\x03\x04 and more")
    with pytest.raises(ValueError, match=r"x\.npy is no \.npy file that can be read"):
        fm.sources.open(tmp_path / "x.npy")


# Arguments -----------------------------------------------------------------------------------


def test_no_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file matches"):
        fm.sources.open(tmp_path / "*.npy")
    with pytest.raises(FileNotFoundError, match=r"x\.npy"):
        fm.sources.open(tmp_path / "x.npy")
    with pytest.raises(ValueError, match=r"path must name at least one file"):
        fm.sources.open([])
    with pytest.raises(TypeError, match=r"path must be a path, a pattern, or a list.*got 3"):
        fm.sources.open(3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("300 MB", 3e8), ("1.5GB", 1.5e9), ("2 kib", 2048), (" 7 ", 7), (10**9, 10**9), (1e6, 10**6)],
)
def test_memory_in_words(text, expected):
    assert n_bytes("memory_limit", text) == expected


@pytest.mark.parametrize("value", ["300 MX", "", "-3 MB", 0, -1, True, None, "MB", np.inf])
def test_no_memory(value, tmp_path):
    np.save(tmp_path / "x.npy", numbers())
    with pytest.raises(ValueError, match=r'memory_limit must be a number of bytes, or as "300 MB"'):
        fm.sources.open(tmp_path / "x.npy", memory_limit=value)


def test_too_little_memory(tmp_path):
    np.save(tmp_path / "x.npy", numbers())
    with pytest.raises(ValueError, match=r"memory_limit=5000 is too low for .*x\.npy"):
        fm.sources.open(tmp_path / "x.npy", memory_limit=5000)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"on_missing": "ignore"},
            ValueError,
            "on_missing must be 'error' or 'drop'; got 'ignore'",
        ),
        ({"target": 5}, ValueError, "target must be a column of .*x.npy, from -5 to 4; got 5"),
        ({"target": "y"}, ValueError, "target must be a number, as .* has no names; got 'y'"),
        ({"delimiter": ";"}, TypeError, r"\.npy and IDX files have no options; got delimiter"),
        ({"dtype": "complex64"}, ValueError, "dtype must be an integer or floating one"),
        ({"columns": [0, 0]}, ValueError, r"columns\[1\] names column 0 a second time"),
    ],
)
def test_arguments_of_open(options, error, message, tmp_path):
    np.save(tmp_path / "x.npy", numbers())
    with pytest.raises(error, match=message):
        fm.sources.open(tmp_path / "x.npy", **options)


# Memory --------------------------------------------------------------------------------------

CHILD = """
import json, sys
import fastmlp as fm

def most():
    status = open("/proc/self/status").read()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])

net = fm.Network([28, 8, 2], output="softmax")
X = fm.sources.open(sys.argv[1][:-9] + "warm.npy", target=0)
fm.minibatch_sgd(net, X, X.y, net.init(0), step=1e-9, epochs=1, rng=0)
before = most()
X = fm.sources.open(sys.argv[1], target=0, memory_limit="110 MB")
fm.minibatch_sgd(net, X, X.y, net.init(0), step=1e-9, epochs=1, batch_size=500, rng=0)
fm.Objective(net, X, X.y, kept_bytes=0).value_and_gradient(net.init(0))
print(json.dumps(most() - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_table_larger_than_the_memory_allowed(tmp_path, rng):
    n = 2_500_000  # 290 MB
    rows = rng.standard_normal((1000, 29), np.float32)
    rows[:, 0] = rows[:, 0] > 0
    np.save(tmp_path / "warm.npy", rows)
    table = np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.float32, (n, 29))
    for start in range(0, n, 1000):
        table[start : start + 1000] = rows
    table.flush()
    assert run_child("-c", CHILD, tmp_path / "large.npy") < 110e6
