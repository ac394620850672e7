"""`fastmlp predict`: the bits of predictions in memory, whatever the format and the blocks."""

from __future__ import annotations

import csv
import io
import signal
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastmlp as fm
from cases_commands import (
    NAMES,
    WORDS,
    fails,
    features,
    labels,
    model,
    predictions,
    rows_for,
    run,
    write_csv,
)
from fastmlp.cli import app, data

KINDS = (
    "words",
    "binary",
    "pipeline",
    "scaled",
    "regressor",
    "two numbers",
    "softmax",
    "margins",
    "net",
)
SUFFIXES = (".csv", ".npy", ".parquet", ".arrow")
pytestmark = pytest.mark.filterwarnings("ignore:.*Maximum iterations")


@pytest.fixture
def case(tmp_path, request):
    """A model in a file, rows in a file, the model and the rows."""
    X = features()
    fitted, _ = model(request.param, X)
    X = rows_for(request.param, X)
    fm.save(tmp_path / "model.safetensors", fitted)
    np.save(tmp_path / "rows.npy", X)
    return tmp_path, fitted, X


def columns(path):
    """Return a table's columns by name, as arrays."""
    if path.suffix == ".npy":
        return {"": np.load(path)}
    if path.suffix == ".csv":
        header, *rows = csv.reader(io.StringIO(path.read_text()))
        return dict(zip(header, np.array(rows).T, strict=True))
    import pyarrow as pa
    from pyarrow import parquet

    if path.suffix == ".parquet":
        table = parquet.read_table(path)
    else:
        table = pa.ipc.open_file(path).read_all()
    return {
        name: np.array(table[name].to_pylist(), _dtype(table, name)) for name in table.schema.names
    }


def _dtype(table, name):
    import pyarrow as pa

    kind = table.schema.field(name).type
    return "U" if kind == pa.string() else kind.to_pandas_dtype()


def same_bits(actual, expected):
    """See that a column is what was predicted; CSV gives it back when read as that dtype."""
    expected = np.asarray(expected)
    if actual.dtype.kind == "U" and expected.dtype.kind != "U":
        actual = actual.astype(expected.dtype)
    if expected.dtype.kind != "U":
        assert actual.dtype == expected.dtype
    assert_array_equal(actual, expected)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("case", KINDS, indirect=True)
def test_as_in_memory(case, suffix):
    folder, fitted, X = case
    output = folder / f"out{suffix}"
    result = run("predict", folder / "model.safetensors", folder / "rows.npy", "-o", output)
    assert f"{output}: predictions of 157 rows" in result.stderr
    written, expected = columns(output), predictions(fitted, X)
    if suffix == ".npy":
        same_bits(written[""], expected)
    elif expected.ndim == 1:
        assert list(written) == ["prediction"]
        same_bits(written["prediction"], expected)
    else:
        assert list(written) == ["prediction_0", "prediction_1"]
        for number in range(2):
            same_bits(written[f"prediction_{number}"], expected[:, number])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("case", ["words", "binary", "pipeline", "softmax"], indirect=True)
def test_probabilities(case, suffix):
    folder, fitted, X = case
    output = folder / f"out{suffix}"
    files = folder / "model.safetensors", folder / "rows.npy"
    run("predict", *files, "--output", output, "--probabilities")
    written = columns(output)
    if isinstance(fitted, tuple):
        expected, classes = fitted[0].predict(fitted[1], X), range(3)
    else:
        expected, classes = fitted.predict_proba(X), fitted.classes_
    if suffix == ".npy":
        same_bits(written[""], expected)
        return
    same_bits(written.pop("prediction"), predictions(fitted, X))
    assert list(written) == [f"probability_{name}" for name in classes]
    for number, column in enumerate(written.values()):
        same_bits(column, expected[:, number])


@pytest.mark.parametrize("suffix", [".csv", ".npy"])
@pytest.mark.parametrize("case", ["words", "two numbers", "scaled"], indirect=True)
def test_blocks_change_nothing(case, suffix, monkeypatch):
    folder, *_ = case
    files = folder / "model.safetensors", folder / "rows.npy"
    contents = set()
    for rows in (1, 13, 1000):
        monkeypatch.setattr(data, "BLOCK_ROWS", rows)
        run("predict", *files, "-o", folder / f"out{suffix}")
        contents.add((folder / f"out{suffix}").read_bytes())
    assert len(contents) == 1


@pytest.mark.parametrize("case", ["words"], indirect=True)
@pytest.mark.parametrize("output", [[], ["--output", "-"]])
def test_standard_output(case, output):
    folder, *_ = case
    files = folder / "model.safetensors", folder / "rows.npy"
    printed = run("predict", *files, *output)
    run("predict", *files, "-o", folder / "out.csv")
    assert printed.stdout_bytes == (folder / "out.csv").read_bytes()
    assert printed.stderr == ""


@pytest.mark.parametrize("case", ["words"], indirect=True)
def test_a_reader_that_has_enough_is_no_error(case):
    folder, *_ = case
    np.save(folder / "rows.npy", features(200_000))
    command = [sys.executable, "-c", "from fastmlp.cli import main; main()", "predict"]
    files = [str(folder / "model.safetensors"), str(folder / "rows.npy")]
    process = subprocess.Popen([*command, *files], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"prediction\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such signals")
@pytest.mark.parametrize("case", ["words"], indirect=True)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_leave_nothing_half_written(case, number, code):
    folder, *_ = case
    np.save(folder / "rows.npy", features(3))
    before = set(folder.iterdir())
    program = (
        "import fastmlp.cli.data as data, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # shells may have it ignored
        "def blocks(source, what):\n"
        "    yield 0, source[:2]\n"
        "    print('half', flush=True)\n"
        "    time.sleep(600)\n"
        "data.blocks = blocks\n"
        "from fastmlp.cli import main; main()\n"
    )
    files = [str(folder / name) for name in ("model.safetensors", "rows.npy", "out.csv")]
    command = [sys.executable, "-c", program, "predict", *files[:2], "--output", files[2]]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == b"half\n"
        assert any(path.suffix == ".tmp" for path in folder.iterdir())
        process.send_signal(number)
        error = process.stderr.read()
    assert process.returncode == code
    assert b"Traceback" not in error
    assert set(folder.iterdir()) == before


@pytest.mark.parametrize("case", ["words"], indirect=True)
def test_columns_are_found_by_their_names(case):
    """A model fitted on names takes its columns, wherever they are and whatever else there is."""
    import pandas as pd

    folder, _, X = case
    fitted = fm.MLPClassifier((6,), max_iter=3, random_state=0)
    fitted.fit(pd.DataFrame(X, columns=NAMES), WORDS[labels(X)])
    fm.save(folder / "model.safetensors", fitted)
    shuffled = np.column_stack([X[:, 3], X[:, 1], X[:, 0] * 0, X[:, 0], X[:, 2]])
    names = ["score", "height", "other", "age", "income"]
    rows = write_csv(folder / "rows.csv", shuffled, names=names)
    printed = run("predict", folder / "model.safetensors", rows)
    assert printed.stderr == ""
    _, *predicted = csv.reader(io.StringIO(printed.stdout))
    assert [row[0] for row in predicted] == list(fitted.predict(pd.DataFrame(X, columns=NAMES)))

    rows = write_csv(folder / "rows.csv", X, names=["age", "height", "income", "points"])
    assert "'score'" in fails("predict", folder / "model.safetensors", rows)


@pytest.mark.parametrize("case", ["words"], indirect=True)
def test_rows_left_out_are_told(case):
    folder, fitted, X = case
    holed = X.copy()
    holed[[3, 100], [0, 2]] = np.nan
    np.save(folder / "rows.npy", holed)
    files = folder / "model.safetensors", folder / "rows.npy"
    result = run("predict", *files, "-o", folder / "out.npy", "--on-missing", "drop")
    assert "predictions of 155 rows; 2 with something missing left out" in result.stderr
    kept = np.delete(X, [3, 100], axis=0)
    assert_array_equal(np.load(folder / "out.npy"), fitted.predict(kept))
    assert "rows.npy, row 3" in fails("predict", *files, "-o", folder / "out.npy")
    assert len(np.load(folder / "out.npy")) == 155  # as it was


@pytest.mark.parametrize("case", ["words"], indirect=True)
def test_memory_is_bounded(case, monkeypatch):
    folder, *_ = case
    X = features(400_000)
    np.save(folder / "rows.npy", X)
    monkeypatch.setattr(data, "BLOCK_ROWS", 4096)
    files = folder / "model.safetensors", folder / "rows.npy"
    run("predict", *files, "-o", folder / "out.npy")  # what is imported and kept is there then
    tracemalloc.start()
    try:
        run("predict", *files, "-o", folder / "out.npy")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.load(folder / "out.npy").nbytes > 20e6
    assert peak < 8e6


@pytest.mark.parametrize("case", ["words"], indirect=True)
def test_errors_say_what_is_wrong(case):
    folder, _, X = case
    saved, rows = folder / "model.safetensors", folder / "rows.npy"
    np.save(folder / "narrow.npy", X[:, :3])
    before = set(folder.iterdir())
    message = fails("predict", saved, folder / "narrow.npy", "-o", folder / "out.csv")
    assert "takes 4 features" in message
    assert "narrow.npy has 3 columns" in message
    assert "must end in one of .npy, .csv" in fails("predict", saved, rows, "-o", folder / "a.txt")
    assert "--output must be in a folder that exists" in fails(
        "predict", saved, rows, "-o", folder / "no" / "out.csv"
    )
    assert "must be another file than those that are read" in fails(
        "predict", saved, rows, "-o", rows
    )
    assert "no.npy" in fails("predict", saved, folder / "no.npy")
    assert "no.safetensors" in fails("predict", folder / "no.safetensors", rows)
    saved.write_bytes(saved.read_bytes()[:-5])
    assert "truncated, corrupted" in fails("predict", saved, rows)
    assert set(folder.iterdir()) == before


@pytest.mark.parametrize("case", ["regressor"], indirect=True)
def test_numbers_have_no_probabilities(case):
    folder, *_ = case
    message = fails("predict", folder / "model.safetensors", folder / "rows.npy", "--probabilities")
    assert "gives no probabilities" in message


@pytest.mark.parametrize("case", ["words"], indirect=True)
def test_without_standard_output(case, monkeypatch):
    folder, *_ = case
    files = [str(folder / name) for name in ("model.safetensors", "rows.npy")]
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(SystemExit) as ended:
        app(["predict", *files])
    assert ended.value.code == 1
    with pytest.raises(SystemExit) as ended:
        app(["predict", *files, "-o", str(folder / "out.npy")])
    assert ended.value.code == 0
    assert (folder / "out.npy").exists()


def test_usage():
    assert "Missing argument" in run("predict", code=2).stderr
    help_text = run("predict", "--help").stdout
    assert "fastmlp predict model.safetensors new.csv" in help_text
    assert "--probabilities" in help_text
