"""`fastmlp convert`: the same rows, in a format that is quick to read."""

from __future__ import annotations

import re
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import cases_tables
import fastmlp as fm
from cases_commands import NAMES, WORDS, fails, features, labels, numbers, run, write_csv
from fastmlp.cli import data

SUFFIXES = (".npy", ".csv", ".parquet", ".arrow")


def opened(printed):
    """Open what was written by the line that is printed for it; return X and y."""
    line = next(line for line in printed.splitlines() if line.startswith("Python: "))
    scope = {"fastmlp": fm, "numpy": np}
    exec(line.removeprefix("Python:").strip(), scope)
    rows = scope["rows"]
    return rows, scope.get("y", rows.y)


@pytest.fixture(params=[5, 1000])
def block(request, monkeypatch):
    monkeypatch.setattr(data, "BLOCK_ROWS", request.param)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file(tmp_path, suffix):
    X = features()
    y = labels(X)
    rows = write_csv(tmp_path / "rows.csv", X, y)
    output = tmp_path / f"out{suffix}"
    arguments = ("--target", "label", "--dtype", "float32", "-o", output)
    printed = run("convert", rows, *arguments).stdout
    assert f"{output}: 157 rows, 4 columns and the target, float32" in printed
    there, targets = opened(printed)
    assert_array_equal(there[:].astype(np.float32), X)
    assert_array_equal(targets, y)
    assert targets.dtype.kind in "iu"
    assert list(tmp_path.iterdir()) in ([rows, output], [output, rows])
    if suffix != ".npy":
        assert list(there.names) == NAMES
        assert 'target = "label"' in printed
    else:
        assert np.load(output).dtype == np.float32
        assert "target = -1" in printed
    if suffix in (".parquet", ".arrow"):
        assert there.dtype == np.float32


@pytest.mark.parametrize("words", [False, True])
def test_names_with_anything_in_them(tmp_path, words):
    """The lines that are printed open what was written, whatever it is called."""
    X = features(9)
    y = WORDS[labels(X)] if words else labels(X)
    folder = tmp_path / 'a "b" [c]* {d} :smile: \\ ü'
    folder.mkdir()
    rows = write_csv(folder / "r[0].csv", X, y, target='the "label"')
    for output in (folder / "out", folder / "out.parquet"):
        printed = run("convert", rows, "--target", 'the "label"', "-o", output).stdout
        assert f"{output}: 9 rows" in printed
        there, targets = opened(printed)
        assert_array_equal(there[:].astype(np.float32), X)
        assert_array_equal(targets, y)


def test_a_file_that_is_read_is_not_replaced(tmp_path):
    rows = write_csv(tmp_path / "a.csv", features(9))
    before = rows.read_bytes()
    (tmp_path / "link.csv").symlink_to(rows)
    for read, output in [(rows, rows), (tmp_path / "*.csv", rows), (rows, tmp_path / "link.csv")]:
        assert "--output must be another file" in fails("convert", read, "-o", output)
    assert rows.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("words", [False, True])
def test_a_folder_of_shards(tmp_path, suffix, words):
    X = features()
    y = WORDS[labels(X)] if words else numbers(X) / 3  # no float32 holds these
    rows = write_csv(tmp_path / "rows.csv", X, y)
    output = tmp_path / "out"
    arguments = ("--target", "label", "-o", output, "--to", suffix[1:])
    printed = run("convert", rows, *arguments, "--rows-per-shard", 60).stdout
    assert "in 3 shards" in printed
    there, targets = opened(printed)
    assert_array_equal(there[:].astype(np.float32), X)
    assert_array_equal(targets, y)
    names = {f"part-0000{number}{suffix}" for number in range(3)}
    if words and suffix == ".npy":
        names.add("labels.npy")
        assert targets.dtype == WORDS.dtype
    assert {path.name for path in output.iterdir()} == names
    assert {path.name for path in tmp_path.iterdir()} == {"rows.csv", "out"}
    assert "must be a new folder" in fails("convert", rows, *arguments)


@pytest.mark.parametrize("extension", cases_tables.FORMATS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_becomes_every_other(tmp_path, extension, suffix, monkeypatch):
    """The bits of rows and targets stay, in a file and in shards."""
    monkeypatch.setattr(data, "BLOCK_ROWS", 5)
    X = features(23).astype(np.float64) / 3
    y = labels(X)
    rows, options = cases_tables.write(tmp_path, extension, X, y, rows_per_block=7)
    flags = []
    if "target" in options:
        flags += ["--target", "y"]
    if "n_features" in options:
        flags += ["--format-option", "n_features=4"]
    for output in (f"out{suffix}", "shards"):
        more = () if suffix in output else ("--to", suffix[1:], "--rows-per-shard", 9)
        printed = run("convert", rows, *flags, "-o", tmp_path / output, *more).stdout
        there, targets = opened(printed)
        assert there.dtype == np.float64
        assert there[:].tobytes() == X.tobytes()
        assert_array_equal(targets, y)


def test_rows_without_targets(tmp_path):
    X = features()
    np.save(tmp_path / "rows.npy", X)
    printed = run("convert", tmp_path / "rows.npy", "-o", tmp_path / "out.parquet").stdout
    there, targets = opened(printed)
    assert targets is None
    assert_array_equal(there[:], X)
    assert list(there.names) == ["x0", "x1", "x2", "x3"]
    printed = run("convert", tmp_path / "out.parquet", "-o", tmp_path / "out.npy").stdout
    assert (tmp_path / "out.npy").read_bytes() == (tmp_path / "rows.npy").read_bytes()
    assert 'Experiment:  train = "' in printed
    assert "target=" not in printed
    assert "target =" not in printed


def test_columns_and_several_files(tmp_path):
    X = features()
    files = [write_csv(tmp_path / f"rows{part}.csv", X[part::2]) for part in (0, 1)]
    output = tmp_path / "out.npy"
    run("convert", *files, "--columns", "income,age", "--target", "score", "-o", output)
    both = np.concatenate([X[::2], X[1::2]])
    assert_array_equal(np.load(output).astype(np.float32), both[:, [2, 0, 3]])


def test_svmlight(tmp_path):
    (tmp_path / "rows.svm").write_text("1 1:0.5 3:2\n-1 2:1.5\n")
    run("convert", tmp_path / "rows.svm", "-o", tmp_path / "out.npy")
    assert_array_equal(np.load(tmp_path / "out.npy"), [[0.5, 0, 2, 1], [0, 1.5, 0, -1]])


def test_targets_keep_all_their_digits(tmp_path):
    """Where the numbers' type cannot hold the targets, one is taken that can, or it is an error."""
    y = np.array([2**24 + 1, 3, 4])
    rows = tmp_path / "rows.parquet"
    import pyarrow as pa
    from pyarrow import parquet

    columns = {"x": pa.array(np.float32([0.5, 1, 2])), "y": pa.array(y)}
    parquet.write_table(pa.table(columns), rows)
    output = tmp_path / "out.npy"
    run("convert", rows, "--target", "y", "-o", output)
    assert_array_equal(np.load(output), np.column_stack([[0.5, 1, 2], y]))
    arguments = ("--target", "y", "--dtype", "float32")
    message = fails("convert", rows, *arguments, "-o", tmp_path / "other.npy")
    assert "--dtype float32 cannot hold all targets" in message
    run("convert", rows, *arguments, "-o", tmp_path / "out.arrow")
    assert_array_equal(fm.sources.open(tmp_path / "out.arrow", target="y").y, y)


def test_targets_that_are_no_labels_may_be_rounded(tmp_path):
    X = features()
    y = numbers(X) / 3
    rows = write_csv(tmp_path / "rows.csv", X, y)
    arguments = ("convert", rows, "--target", "label", "-o", tmp_path / "out.npy")
    run(*arguments, "--dtype", "float32")
    assert_array_equal(np.load(tmp_path / "out.npy"), np.column_stack([X, y.astype(np.float32)]))
    assert "cannot hold all targets" in fails(*arguments, "--dtype", "int8")
    run(*arguments)
    assert_array_equal(np.load(tmp_path / "out.npy")[:, 4], y)


def test_numbers_that_a_dtype_cannot_hold(tmp_path):
    np.save(tmp_path / "rows.npy", np.array([[1.0, 2], [3, 1e300], [0.5, 2]]))
    before = set(tmp_path.iterdir())
    rows = tmp_path / "rows.npy"
    message = fails("convert", rows, "--dtype", "float32", "-o", tmp_path / "out.npy")
    assert "row 1: --dtype float32 cannot hold 1e+300 of column x1" in message
    arguments = ("--columns", "0", "--dtype", "uint8")
    message = fails("convert", rows, *arguments, "-o", tmp_path / "out")
    assert "row 2: --dtype uint8 cannot hold 0.5 of column x0" in message
    assert "--dtype must be of numbers" in fails(
        "convert", rows, "--dtype", "words", "-o", tmp_path / "out.npy"
    )
    assert set(tmp_path.iterdir()) == before


def test_words_need_a_place(tmp_path):
    X = features()
    rows = write_csv(tmp_path / "rows.csv", X, WORDS[labels(X)])
    message = fails("convert", rows, "--target", "label", "-o", tmp_path / "out.npy")
    assert "the targets are words" in message
    assert not (tmp_path / "out.npy").exists()


def test_rows_left_out_are_told(tmp_path):
    X = features()
    X[5, 2] = np.nan
    np.save(tmp_path / "rows.npy", X)
    arguments = ("convert", tmp_path / "rows.npy", "-o", tmp_path / "out.npy")
    assert "row 5" in fails(*arguments)
    printed = run(*arguments, "--on-missing", "drop").stdout
    assert "156 rows, 1 with something missing left out, 4 columns" in printed
    assert_array_equal(np.load(tmp_path / "out.npy"), np.delete(X, 5, axis=0))


def test_memory_is_bounded(tmp_path, monkeypatch):
    X = features(400_000)
    np.save(tmp_path / "rows.npy", X)
    monkeypatch.setattr(data, "BLOCK_ROWS", 4096)
    arguments = ("convert", tmp_path / "rows.npy", "--target", "-1", "-o", tmp_path / "out.npy")
    run(*arguments)
    tracemalloc.start()
    try:
        run(*arguments)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert_array_equal(np.load(tmp_path / "out.npy"), X)
    # The targets and what they are compared with; X alone takes 6.4 MB.
    assert peak < 400_000 * 12 + 4e6


def test_usage(tmp_path):
    np.save(tmp_path / "rows.npy", features())
    rows = tmp_path / "rows.npy"
    assert "--output" in run("convert", rows, code=2).stderr
    shards = ("--rows-per-shard", 10)
    message = fails("convert", rows, "-o", tmp_path / "out.npy", *shards)
    assert "--rows-per-shard is for a folder" in message
    message = fails("convert", rows, "-o", tmp_path / "out", "--to", "xls")
    assert "--to must be one of npy, csv, parquet, arrow; got 'xls'" in message
    assert "folder that exists" in fails("convert", rows, "-o", tmp_path / "no" / "out")
    option = run("convert", rows, "-o", tmp_path / "out", "--format-option", "separator", code=2)
    assert re.search("must be\\s+name=value", option.stderr.replace("│", ""))
    assert "fastmlp convert train.csv" in run("convert", "--help").stdout
    assert list(tmp_path.iterdir()) == [rows]
