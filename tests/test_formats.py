"""What all readers promise: the same numbers block by block, and clear errors."""

import os
import re
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_svmlight_file

import cases_tables
from fastmlp.sources.formats import EXTENSIONS, reader

N_ROWS, WIDTH = 211, 7
NAMED = (*cases_tables.TEXT, *cases_tables.COLUMNAR)
WITH_LABELS = (*NAMED, *cases_tables.ARRAYS)


def read_all(path, **options):
    """Return all of a file, read block by block in an order that is not the file's."""
    with reader(path, **options) as file:
        n_blocks = len(file.ends)
        order = np.random.default_rng(n_blocks).permutation(n_blocks)
        blocks = {int(block): file.read(int(block)) for block in order}
        for block in order:
            assert (blocks[int(block)][1] is None) == (not file.has_target)
        assert_array_equal(np.cumsum([len(blocks[b][0]) for b in range(n_blocks)]), file.ends)
        for X, _ in blocks.values():
            assert X.dtype == file.dtype
            assert X.shape[1] == file.width
            assert X.flags.c_contiguous
            assert X.flags.writeable
        X = np.concatenate([blocks[b][0] for b in range(n_blocks)])
        if not file.has_target:
            return X, None, n_blocks
        return X, np.concatenate([blocks[b][1] for b in range(n_blocks)]), n_blocks


def numbers(rng, dtype):
    X = rng.standard_normal((N_ROWS, WIDTH)) * 10.0 ** rng.integers(-30, 30, WIDTH)
    if dtype == "uint8":
        return rng.integers(0, 256, (N_ROWS, WIDTH)).astype(np.uint8)
    return X.astype(dtype)


def targets(rng, kind):
    numbered = rng.integers(0, 3, N_ROWS)
    return {
        "none": None,
        "labels": np.array(["Ja", "nö", "a longer one"])[numbered],
        "integers": numbered,
        "real": rng.standard_normal(N_ROWS),
    }[kind]


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize(
    ("extension", "kind"),
    [
        (extension, kind)
        for extension in cases_tables.FORMATS
        for kind in ("none", "labels", "integers", "real")
        if extension in WITH_LABELS or kind != "labels"
    ],
)
def test_blocks_are_the_table(tmp_path, rng, extension, dtype, kind, small):
    X, y = numbers(rng, dtype), targets(rng, kind)
    path, options = cases_tables.write(
        tmp_path, extension, X, y, rows_per_block=40 if small else None
    )

    got_X, got_y, n_blocks = read_all(path, **options, **({"block_bytes": 600} if small else {}))

    assert (n_blocks > 1) == small
    assert_array_equal(got_X, X, strict=got_X.dtype != np.float64)
    if extension in (*cases_tables.COLUMNAR, *cases_tables.ARRAYS):
        assert got_X.dtype == X.dtype
    if y is not None:
        assert_array_equal(got_y, y)
        if got_y.dtype.kind == "U" or extension in (*cases_tables.COLUMNAR, *cases_tables.ARRAYS):
            assert got_y.dtype.kind == y.dtype.kind
    elif extension in cases_tables.SPARSE:
        assert_array_equal(got_y, np.zeros(N_ROWS))
    else:
        assert got_y is None


@pytest.mark.parametrize("extension", [*NAMED, *cases_tables.SPARSE])
def test_blocks_are_what_the_formats_own_library_reads(tmp_path, rng, extension):
    X, y = numbers(rng, "float64"), targets(rng, "real")
    path, options = cases_tables.write(tmp_path, extension, X, y, rows_per_block=50)
    if extension in cases_tables.SPARSE:
        matrix, own_y = load_svmlight_file(path, n_features=WIDTH)
        own_X = matrix.toarray()
    else:
        read = {"parquet": pd.read_parquet, "arrow": pd.read_feather, "feather": pd.read_feather}
        separator = "\t" if extension == "tsv" else ","
        frame = read.get(extension, lambda path: pd.read_csv(path, sep=separator))(path)
        own_X, own_y = frame.drop(columns="y").to_numpy(), frame["y"].to_numpy()

    got_X, got_y, _ = read_all(path, **options, block_bytes=1000)

    assert_array_equal(got_X, own_X, strict=True)
    assert_array_equal(got_y, own_y, strict=True)


@pytest.mark.parametrize("extension", NAMED)
def test_columns_by_name_and_number(tmp_path, rng, extension):
    X, y = numbers(rng, "float64"), targets(rng, "labels")
    path, _ = cases_tables.write(tmp_path, extension, X, y)
    with reader(path, target=-1, columns=["x4", 0, -2]) as file:
        assert file.names == ["x4", "x0", "x6"]
        assert file.width == 3
        got_X, got_y = file.read(0)
    assert_array_equal(got_X, X[:, [4, 0, 6]])
    assert_array_equal(got_y, y)
    # The target may be any column, and what is neither is passed over.
    got_X, got_y, _ = read_all(path, target="x2", columns=[1, 5, 3])
    assert_array_equal(got_X, X[:, [1, 5, 3]])
    assert_array_equal(got_y, X[:, 2])


@pytest.mark.parametrize("extension", cases_tables.ARRAYS)
def test_columns_of_arrays_by_number(tmp_path, rng, extension):
    X, y = numbers(rng, "float32"), targets(rng, "integers")
    path, _ = cases_tables.write(tmp_path, extension, X, y)
    got_X, got_y, _ = read_all(path, target="y", columns=[4, 0, -1], block_bytes=500)
    assert_array_equal(got_X, X[:, [4, 0, 6]])
    assert_array_equal(got_y, y)
    got_X, got_y, _ = read_all(path, target=-2)
    assert_array_equal(got_X, X[:, [0, 1, 2, 3, 4, 6]])
    assert_array_equal(got_y, X[:, 5])


def test_columns_of_svmlight_by_number(tmp_path, rng):
    X = numbers(rng, "float64")
    path, options = cases_tables.write(tmp_path, "svm", X)
    assert_array_equal(read_all(path, columns=[4, 0, -1], **options)[0], X[:, [4, 0, 6]])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"target": "yy"}, ValueError, "target: .* has no column 'yy'; did you mean 'y'?"),
        ({"columns": ["x0", "zzz"]}, ValueError, r"columns\[1\]: .* has no column 'zzz'\. It has"),
        ({"target": 8}, ValueError, "target must be a column of .*, from -8 to 7; got 8"),
        ({"columns": [-9]}, ValueError, r"columns\[0\] must be a column of .*, from -8 to 7"),
        ({"columns": [0, "x0"]}, ValueError, r"columns\[1\] names column 'x0' a second time"),
        ({"target": "y", "columns": [-1]}, ValueError, r"columns\[0\] names the target, 'y'"),
        ({"columns": []}, ValueError, "columns must name at least one column; got none"),
        ({"columns": "x0"}, TypeError, "columns must be a list of names or numbers; got 'x0'"),
        ({"target": True}, TypeError, "target must be a column's name or number; got True"),
        ({"columns": [1.0]}, TypeError, r"columns\[0\] must be a column's name or number; got 1.0"),
    ],
)
@pytest.mark.parametrize("extension", ["csv", "parquet", "arrow"])
def test_columns_refused(tmp_path, rng, extension, arguments, error, message):
    path, _ = cases_tables.write(tmp_path, extension, numbers(rng, "float64"), np.arange(N_ROWS))
    with pytest.raises(error, match=message):
        reader(path, **arguments)


@pytest.mark.parametrize("extension", ["svm", "h5", "npz"])
def test_columns_without_names(tmp_path, rng, extension):
    path, _ = cases_tables.write(tmp_path, extension, numbers(rng, "float64"))
    with pytest.raises(ValueError, match=r"columns\[0\] must be a number, as .* has no names"):
        reader(path, columns=["x0"])


@pytest.mark.parametrize("extension", ["csv", "parquet", "arrow"])
def test_no_column_beside_the_target(tmp_path, extension):
    path, _ = cases_tables.write(tmp_path, extension, np.ones((3, 1)))
    with pytest.raises(ValueError, match="has no columns beside the target, 'x0'"):
        reader(path, target="x0")


@pytest.mark.parametrize("how", ["truncated", "rewritten", "replaced", "deleted"])
@pytest.mark.parametrize("extension", cases_tables.FORMATS)
def test_file_changed_after_opening(tmp_path, rng, extension, how):
    path, options = cases_tables.write(tmp_path, extension, numbers(rng, "float64"))
    with reader(path, **options) as file:
        content = path.read_bytes()
        if how == "truncated":
            os.truncate(path, len(content) // 2)
        elif how == "rewritten":
            path.write_bytes(content)
            os.utime(path, ns=(1, 1))
        elif how == "replaced":
            status = path.stat()
            other = tmp_path / "other"
            other.write_bytes(content)
            os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
            other.replace(path)
        else:
            path.unlink()
        said = "has vanished" if how == "deleted" else "has changed"
        with pytest.raises(OSError, match=f"{re.escape(str(path))} {said} since it was opened"):
            file.read(0)


@pytest.mark.parametrize("extension", cases_tables.FORMATS)
def test_closed_reader(tmp_path, rng, extension):
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    path, options = cases_tables.write(tmp_path, extension, numbers(rng, "float64"))
    file = reader(path, **options)
    file.read(0)
    file.close()
    file.close()
    with pytest.raises(ValueError, match=f"the reader of {re.escape(str(path))} is closed"):
        file.read(0)
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("extension", cases_tables.FORMATS)
def test_no_such_file(tmp_path, extension):
    with pytest.raises(FileNotFoundError, match="no-such"):
        reader(tmp_path / f"no-such.{extension}")


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9])
@pytest.mark.parametrize("extension", cases_tables.FORMATS)
def test_wrong_content(tmp_path, extension, content):
    path = tmp_path / f"some.{extension}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        reader(path).read(0)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    "extension", ["csv.gz", "svm.gz", "parquet", "arrow", "feather", "h5", "npz", "compressed.npz"]
)
def test_truncated_before_opening(tmp_path, rng, extension, part):
    path, options = cases_tables.write(tmp_path, extension, numbers(rng, "float64"))
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        reader(path, **options)


@pytest.mark.parametrize("extension", [*NAMED, *cases_tables.ARRAYS, "svm"])
def test_no_rows(tmp_path, extension):
    y = None if extension == "svm" else np.zeros(0)
    path, options = cases_tables.write(tmp_path, extension, np.ones((0, 3)), y)
    with reader(path, **options) as file:
        assert file.ends.shape == (0,)
        assert file.ends.dtype == np.int64
        assert file.width == 3
        assert file.names == (["x0", "x1", "x2"] if extension in NAMED else None)


@pytest.mark.parametrize("extension", ["csv", "svm", "parquet", "arrow", "h5", "npz"])
def test_where(tmp_path, rng, extension):
    path, options = cases_tables.write(tmp_path, extension, numbers(rng, "float64"))
    first = {"csv": ", line 2", "svm": ", line 1"}.get(extension, ", row 0")
    last = {"csv": f", line {N_ROWS + 1}", "svm": f", line {N_ROWS}"}
    for block_bytes in (500, 10**6):
        with reader(path, block_bytes=block_bytes, **options) as file:
            assert file.where(0) == f"{path}{first}"
            assert file.where(N_ROWS - 1) == f"{path}{last.get(extension, f', row {N_ROWS - 1}')}"


@pytest.mark.parametrize(
    ("extension", "package", "extra"),
    [("parquet", "pyarrow", "arrow"), ("feather", "pyarrow", "arrow"), ("h5", "h5py", "hdf5")],
)
def test_missing_package(tmp_path, monkeypatch, rng, extension, package, extra):
    path, options = cases_tables.write(tmp_path, extension, numbers(rng, "float64"))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'needs {package}: pip install "fastmlp\[{extra}\]"'):
        reader(path, **options)


def test_format_by_extension(tmp_path, rng):
    X = numbers(rng, "float64")
    path, _ = cases_tables.write(tmp_path, "csv", X)
    for name in ("upper.CSV", "text.txt", "dotted.v1.csv"):
        (tmp_path / name).write_bytes(path.read_bytes())
        assert_array_equal(read_all(tmp_path / name)[0], X)
    (tmp_path / "nothing").write_bytes(path.read_bytes())
    assert_array_equal(read_all(tmp_path / "nothing", format="csv")[0], X)


@pytest.mark.parametrize("name", ["table.xls", "table", "table.parquet.gz", "table.gz"])
def test_unknown_extension(tmp_path, name):
    with pytest.raises(ValueError, match="of no known format") as caught:
        reader(tmp_path / name)
    for extension in EXTENSIONS:
        assert extension in str(caught.value)


def test_unknown_format_and_options(tmp_path):
    with pytest.raises(ValueError, match=r"format must be one of 'csv', .*; got 'excel'"):
        reader(tmp_path / "a.csv", format="excel")
    message = "csv files have no option 'delimeter'; did you mean 'delimiter'? They have 'delim"
    with pytest.raises(TypeError, match=re.escape(message)):
        reader(tmp_path / "a.csv", delimeter=";")
    with pytest.raises(TypeError, match="parquet files have no option 'delimiter'"):
        reader(tmp_path / "a.parquet", delimiter=";")


@pytest.mark.parametrize("extension", ["csv", "npz"])
def test_core_formats_need_no_other_package(tmp_path, monkeypatch, extension):
    path, _ = cases_tables.write(tmp_path, extension, np.eye(2))
    for package in ("pyarrow", "h5py", "pandas", "sklearn"):
        monkeypatch.setitem(sys.modules, package, None)
    assert_array_equal(read_all(path)[0], np.eye(2))
