"""One table of numbers, and its targets, written in each format that can be read in blocks."""

import gzip

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet

# What files are called after their first dot.
TEXT = ("csv", "tsv", "txt", "csv.gz")
SPARSE = ("svm", "svm.gz")
COLUMNAR = ("parquet", "arrow", "feather")
ARRAYS = ("h5", "npz", "compressed.npz")
FORMATS = TEXT + SPARSE + COLUMNAR + ARRAYS


def write(folder, extension, X, y=None, *, stem="table", rows_per_block=None):
    """Write a table to a new file; return its path, and the options of `sources.open` to read it.

    X (n, width) of real numbers: read as written where the format knows the dtype, else as
    float32 where X is that, and as float64 where not. y (n,) of numbers or labels, or None;
    SVMlight holds numbers only, and always some: zeros where there is no y. The columns of CSV,
    Parquet and Arrow files are called x0, x1, ... and y, the last one.
    """
    path = folder / f"{stem}.{extension}"
    options = {} if y is None else {"target": "y"}
    if extension in TEXT:
        delimiter = "\t" if extension == "tsv" else ","
        content = _lines(X, y, delimiter)
        if X.dtype == np.float32:
            options["dtype"] = "float32"
        _write_text(path, content)
    elif extension in SPARSE:
        _write_text(path, _sparse_lines(X, y))
        options = {"n_features": X.shape[1]}
        if X.dtype == np.float32:
            options["dtype"] = "float32"
    elif extension in COLUMNAR:
        _write_columns(path, extension, arrow_table(X, y), rows_per_block)
    elif extension == "h5":
        with h5py.File(path, "w") as file:
            chunks = None if rows_per_block is None else (rows_per_block, X.shape[1])
            file.create_dataset("X", data=X, chunks=chunks)
            if y is not None:
                file["y"] = y.astype(object) if y.dtype.kind == "U" else y
    elif extension in ("npz", "compressed.npz"):
        save = np.savez if extension == "npz" else np.savez_compressed
        save(path, X=X, **({} if y is None else {"y": y}))
    else:
        raise AssertionError(extension)
    return path, options


def arrow_table(X, y=None):
    """Return X and y as a table of pyarrow."""
    table = {f"x{j}": pa.array(np.ascontiguousarray(X[:, j])) for j in range(X.shape[1])}
    if y is not None:
        table["y"] = pa.array(y)
    return pa.table(table)


def _lines(X, y, delimiter):
    names = [f"x{j}" for j in range(X.shape[1])] + ([] if y is None else ["y"])
    lines = [delimiter.join(names)]
    for i, row in enumerate(X.tolist()):
        fields = [repr(value) for value in row]  # of Python's float: exact
        if y is not None:
            fields.append(str(y[i : i + 1].tolist()[0]))
        lines.append(delimiter.join(fields))
    return lines


def _sparse_lines(X, y):
    targets = np.zeros(len(X)) if y is None else y
    for target, row in zip(targets.tolist(), X.tolist(), strict=True):
        pairs = [f"{j + 1}:{value!r}" for j, value in enumerate(row) if value != 0]
        yield " ".join([repr(target), *pairs])


def _write_text(path, lines):
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def _write_columns(path, extension, table, rows_per_block):
    if extension == "parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=rows_per_block)
    elif extension == "feather":
        pyarrow.feather.write_feather(table, path, chunksize=rows_per_block)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=rows_per_block)
