"""Parquet, Arrow, HDF5 and NPZ: types, missing numbers, and which array is X."""

import io
import tempfile
import tracemalloc
import zipfile

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from numpy.testing import assert_array_equal

import cases_tables
from fastmlp.sources.formats import reader

NAN = np.nan
COLUMNAR = pytest.mark.parametrize("extension", ["parquet", "arrow"])


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a table of pyarrow and returns its path."""

    def write_table(table, extension, rows=2, **options):
        path = tmp_path / f"some.{extension}"
        if extension == "parquet":
            pyarrow.parquet.write_table(table, path, row_group_size=rows, **options)
        else:
            with pa.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table, max_chunksize=rows)
        return path

    return write_table


def read_all(path, **options):
    with reader(path, **options) as file:
        blocks = [file.read(block) for block in range(len(file.ends))]
        X = np.concatenate([X for X, _ in blocks])
        assert X.dtype == file.dtype
        return X, np.concatenate([y for _, y in blocks]) if file.has_target else None


@COLUMNAR
@pytest.mark.parametrize("kind", ["int8", "uint16", "int32", "uint64", "float16", "float32"])
def test_columnar_missing_numbers(write, extension, kind):
    table = pa.table({"a": pa.array([1, None, 3, 4], kind), "b": pa.array([1, 2, 3, 4], kind)})
    X, _ = read_all(write(table, extension))
    expected = "float64" if kind in ("int32", "uint64") else "float32"
    assert X.dtype == ("float16" if kind == "float16" else expected)
    assert_array_equal(X, [[1, 1], [NAN, 2], [3, 3], [4, 4]])
    X, _ = read_all(write(table, extension), columns=["b"])
    assert X.dtype == kind
    assert_array_equal(X, [[1], [2], [3], [4]])


def test_parquet_that_does_not_say_what_is_missing(write):
    for nullable, dtype in ((True, "float64"), (False, "int64")):
        schema = pa.schema([pa.field("a", pa.int64(), nullable=nullable)])
        table = pa.table({"a": [1, 2, 3]}, schema=schema)
        X, _ = read_all(write(table, "parquet", write_statistics=False))
        assert_array_equal(X, np.array([[1], [2], [3]], dtype), strict=True)


@COLUMNAR
def test_columnar_types(write, extension):
    table = pa.table(
        {
            "bool": [True, False, None],
            "coded": pa.array([1.5, None, 1.5]).dictionary_encode(),
            "decimal": pa.array([1, 2, 3]).cast(pa.decimal128(30, 2)),
            "dotted.name": pa.array([7, 8, 9], pa.int8()),
        }
    )
    X, _ = read_all(write(table, extension))
    assert_array_equal(X, [[1, 1.5, 1, 7], [0, NAN, 2, 8], [NAN, 1.5, 3, 9]])
    X, _ = read_all(write(table, extension), columns=["dotted.name"])
    assert_array_equal(X, np.array([[7], [8], [9]], np.int8), strict=True)


@COLUMNAR
@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (pa.array(["a", None, "ccc"]), ["a", "", "ccc"]),
        (pa.array(["a", None, "ccc"], pa.large_string()), ["a", "", "ccc"]),
        (pa.array(["a", None, "a"]).dictionary_encode(), ["a", "", "a"]),
        (pa.array([True, False, True]), [True, False, True]),
        (pa.array([True, None, True]), [1, NAN, 1]),
        (pa.array([3, None, 2**40]), [3, NAN, 2**40]),
        (pa.array([3, 4, 5], pa.int8()), np.array([3, 4, 5], np.int8)),
        (pa.array([3, None, 5]).dictionary_encode(), [3, NAN, 5]),
    ],
)
def test_columnar_targets(write, extension, targets, expected):
    path = write(pa.table({"y": targets, "x": [1, 2, 3]}), extension, rows=3)
    X, y = read_all(path, target="y")
    assert_array_equal(X, [[1], [2], [3]])
    assert_array_equal(y, np.array(expected), strict=True)


@COLUMNAR
def test_columnar_types_refused(write, extension):
    table = pa.table({"s": ["x"], "l": [[1]], "t": pa.array([0], pa.timestamp("ms")), "a": [1]})
    path = write(table, extension)
    for name, kind in (("s", "string"), ("l", "list"), ("t", "timestamp")):
        with pytest.raises(ValueError, match=f"{path}: column '{name}' is of type {kind}.*numbers"):
            reader(path, columns=["a", name])
    with pytest.raises(ValueError, match=r"column 't' is of type timestamp.*; targets must be num"):
        reader(path, target="t", columns=["a"])
    assert_array_equal(read_all(path, target="s", columns=["a"])[1], ["x"])


@COLUMNAR
def test_columnar_index_of_pandas_is_no_column(write, extension):
    frame = pa.table({"a": [1, 2]}).to_pandas()
    frame.index = [7, 5]
    path = write(pa.Table.from_pandas(frame), extension)
    assert_array_equal(read_all(path)[0], [[1], [2]])


def test_parquet_columns_of_one_name(write):
    path = write(pa.table([[1], [2]], names=["a", "a"]), "parquet")
    with pytest.raises(ValueError, match="has more than one column 'a'"):
        reader(path)


@COLUMNAR
def test_columnar_parts_of_large_groups(write, rng, extension):
    X = rng.standard_normal((1000, 3))
    labels = np.array(["a", "bb", "ccc"])[rng.integers(0, 3, 1000)]
    table = pa.table({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "y": labels})
    path = write(table, extension, rows=600)
    with reader(path, target="y", block_bytes=24 * 70) as file:
        assert_array_equal(file.ends, [*range(70, 600, 70), 600, *range(670, 1000, 70), 1000])
        for block in [3, 4, 2, 2, 14, 0, 8, 9, *range(len(file.ends))]:
            stop = file.ends[block]
            start = file.ends[block - 1] if block else 0
            got, y = file.read(block)
            assert_array_equal(got, X[start:stop])
            assert_array_equal(y, labels[start:stop])


@COLUMNAR
def test_columnar_damage_within(write, rng, extension):
    path = write(pa.table({"a": rng.standard_normal(5000)}), extension, rows=5000)
    content = bytearray(path.read_bytes())
    if extension == "parquet":
        content[4:40] = b"\xff" * 36  # the first page's header
    else:
        batch = content.index(b"\xff" * 4, 12)  # the message after the schema's
        content[batch + 8 : batch + 40] = b"\xff" * 32
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}, rows .*: cannot be read"):
        reader(path).read(0)


def write_hdf5(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            file[name.replace("__", "/")] = data
    return path


def write_npz(path, **members):
    np.savez_compressed(path, **members)
    return path


WRITERS = pytest.mark.parametrize(
    ("write", "name", "option"),
    [(write_hdf5, "some.h5", "dataset"), (write_npz, "some.npz", "member")],
)
TABLE = np.arange(12.0).reshape(4, 3)


@WRITERS
def test_arrays_which_is_X(tmp_path, write, name, option):
    path = write(tmp_path / name, other=TABLE[:, 0], numbers=TABLE, cube=np.ones((2, 2, 2)))
    assert_array_equal(read_all(path)[0], TABLE)
    path = write(tmp_path / name, X=TABLE, Z=TABLE + 1)
    assert_array_equal(read_all(path)[0], TABLE)
    assert_array_equal(read_all(path, **{option: "Z"})[0], TABLE + 1)
    path = write(tmp_path / name, y=TABLE[:, :1], numbers=TABLE)
    X, y = read_all(path, target="y")
    assert_array_equal(X, TABLE)
    assert_array_equal(y, TABLE[:, 0], strict=True)


@WRITERS
def test_arrays_refused(tmp_path, write, name, option):
    path = write(tmp_path / name, A=TABLE, B=TABLE, y=np.ones(3), Y=TABLE, s=np.array([b"a"] * 4))
    with pytest.raises(ValueError, match=f"{option} must name one of the tables of .*: 'A', 'B'"):
        reader(path)
    with pytest.raises(ValueError, match=f"has no {option} 'AA'; did you mean 'A'?"):
        reader(path, **{option: "AA"})
    with pytest.raises(ValueError, match=rf"{option} 'y' must be a table .*shape \(3,\) of"):
        reader(path, **{option: "y"})
    with pytest.raises(ValueError, match=f"target: .* has no {option} 'z'"):
        reader(path, target="z", **{option: "A"})
    with pytest.raises(ValueError, match=r"the target, must hold 4 numbers .* got shape \(3,\)"):
        reader(path, target="y", **{option: "A"})
    with pytest.raises(ValueError, match=r"the target, must hold 4 numbers .* got shape \(4, 3\)"):
        reader(path, target="Y", **{option: "A"})
    path = write(tmp_path / name, X=np.ones((2, 0)))
    with pytest.raises(ValueError, match=r"has no columns$"):
        reader(path)
    path = write(tmp_path / name, X=np.ones((2, 2), complex))
    with pytest.raises(ValueError, match=f"has no {option} of shape"):
        reader(path)
    with pytest.raises(ValueError, match=r"must be a table of real numbers; .* of complex128"):
        reader(path, **{option: "X"})


@WRITERS
@pytest.mark.parametrize("kind", ["?", "i1", "<u2", ">i4", "<i8", "<f2", ">f4", ">f8"])
def test_arrays_dtypes(tmp_path, write, name, option, kind):
    stored = (TABLE > 3).astype(kind) if kind == "?" else TABLE.astype(kind)
    path = write(tmp_path / name, X=stored, y=stored[:, 1])
    X, y = read_all(path, target="y", **{option: "X"}, block_bytes=20)
    assert X.dtype == ("u1" if kind == "?" else np.dtype(kind).newbyteorder("="))
    assert_array_equal(X, stored)
    assert_array_equal(y, stored[:, 1])
    assert y.dtype == np.dtype(kind).newbyteorder("=")


@WRITERS
def test_arrays_labels_in_bytes(tmp_path, write, name, option):
    labels = ["a", "bé", "", "d"]
    path = write(tmp_path / name, X=TABLE, y=np.char.encode(labels, "utf-8"))
    assert_array_equal(read_all(path, target="y", block_bytes=50)[1], labels)


def test_hdf5_groups_and_chunks(tmp_path, rng):
    X = rng.standard_normal((1000, 4)).astype("f4")
    path = tmp_path / "some.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("train/X", data=X, chunks=(64, 2), compression="gzip")
        file["train/y"] = X[:, 0]
    options = {"dataset": "train/X", "target": "train/y"}
    for block_bytes, n_rows in ((16 * 200, 192), (16 * 64, 64), (16 * 10, 64)):
        with reader(path, block_bytes=block_bytes, **options) as file:
            assert_array_equal(file.ends, [*range(n_rows, 1000, n_rows), 1000])
        got, y = read_all(path, block_bytes=block_bytes, **options)
        assert_array_equal(got, X, strict=True)
        assert_array_equal(y, X[:, 0], strict=True)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_orders_and_temporary_files(tmp_path, monkeypatch, rng, save, order):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    X = np.asarray(rng.standard_normal((1000, 5)), order=order)
    save(tmp_path / "some.npz", before=np.ones(77), X=X, y=X[:, 3])
    for block_bytes in (1, 400, 7777, 10**6):
        got, y = read_all(tmp_path / "some.npz", target="y", block_bytes=block_bytes)
        assert_array_equal(got, X, strict=True)
        assert_array_equal(y, X[:, 3], strict=True)
        got, y = read_all(tmp_path / "some.npz", target=1, columns=[4, 0], block_bytes=block_bytes)
        assert_array_equal(got, X[:, [4, 0]], strict=True)
        assert_array_equal(y, X[:, 1], strict=True)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_takes_little_memory(tmp_path, save):
    X = np.zeros((2**19, 16))  # 64 MiB
    save(tmp_path / "some.npz", X=X)
    del X
    tracemalloc.start()
    try:
        with reader(tmp_path / "some.npz") as file:
            for block in range(len(file.ends)):
                file.read(block)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**23


def test_npz_of_objects(tmp_path):
    path = tmp_path / "some.npz"
    np.savez(path, X=TABLE, y=np.array([1, "a", None, 2], object))
    with pytest.raises(ValueError, match=r"the target, must hold 4 numbers or strings.*of object"):
        reader(path, target="y")
    np.savez(path, X=np.array([[None]]))
    with pytest.raises(ValueError, match="has no member of shape"):
        reader(path)


def test_npz_damaged_members(tmp_path):
    path = tmp_path / "some.npz"
    content = io.BytesIO()
    np.save(content, TABLE)
    for damaged, message in (
        (content.getvalue()[:-8], "it takes 216 bytes, not 224"),
        (b"no array", "damaged: the magic string is not correct"),
        (content.getvalue()[:40], "damaged: EOF"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("X.npy", damaged)
        with pytest.raises(ValueError, match=f"{path}: member 'X.npy' is .*{message}"):
            reader(path)
    np.savez_compressed(path, X=np.random.default_rng(0).random((500, 3)))
    zipped = bytearray(path.read_bytes())
    zipped[3000:3100] = bytes(100)
    path.write_bytes(zipped)
    with pytest.raises(ValueError, match=r"member 'X.npy' is damaged"):
        reader(path)


@pytest.mark.parametrize("extension", [*cases_tables.COLUMNAR, *cases_tables.ARRAYS])
def test_damaged_bytes(tmp_path, rng, extension):
    """Whatever they hit, the error is one about the file, or none."""
    path, options = cases_tables.write(tmp_path, extension, rng.standard_normal((40, 3)))
    content, n_errors = path.read_bytes(), 0
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            with reader(path, **options) as file:
                for block in range(len(file.ends)):
                    file.read(block)
        except (ValueError, OSError) as error:
            n_errors += 1
            assert str(path) in str(error), error  # noqa: PT017
    assert n_errors > 20
