"""CSV and SVMlight: lines, and what is wrong with them."""

import gzip
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from fastmlp.sources.formats import reader

NAN = np.nan


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file and returns its path."""

    def write_bytes(content, name="some.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_bytes


def read_all(path, **options):
    with reader(path, **options) as file:
        blocks = [file.read(block) for block in range(len(file.ends))]
        assert_array_equal(np.cumsum([len(X) for X, _ in blocks]), file.ends)
        where = [file.where(row) for row in range(int(file.ends[-1]))]
        lines = [int(place.rpartition(" ")[2]) for place in where]
        y = np.concatenate([y for _, y in blocks]) if file.has_target else None
        return np.concatenate([X for X, _ in blocks]), y, file.names, lines


BLOCKS = pytest.mark.parametrize("block_bytes", [1, 2, 3, 5, 8, 1000])


@BLOCKS
@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("1,2\n3,4\n5,6\n", [1, 2, 3]),
        ("1,2\n3,4\n5,6", [1, 2, 3]),
        ("1,2\r\n3,4\r\n5,6\r\n", [1, 2, 3]),
        ("\n\n1,2\n\n\n\n3,4\r\n\r\n\n5,6\n\n", [3, 7, 10]),
        ("\ufeff1,2\n3,4\n5,6\n", [1, 2, 3]),
        ("a,b\n1,2\n3,4\n5,6\n", [2, 3, 4]),
        ("\ufeffa,b\r\n1,2\r\n3,4\r\n5,6", [2, 3, 4]),
        ("\na,b\n\n1,2\n3,4\n\n5,6", [4, 5, 7]),
        ('"a", b \n"1", 2 \n 3.0,+4e0\n"5",6\n', [2, 3, 4]),
    ],
)
def test_csv_lines(write, content, lines, block_bytes):
    X, y, names, found = read_all(write(content), block_bytes=block_bytes)
    assert_array_equal(X, [[1, 2], [3, 4], [5, 6]], strict=False)
    assert X.dtype == np.float64
    assert y is None
    assert names == (["a", "b"] if "a" in content else None)
    assert found == lines
    zipped = write(gzip.compress(content.encode()), "zipped.csv")  # the content decides
    assert_array_equal(read_all(zipped, block_bytes=block_bytes)[0], X)


@BLOCKS
def test_csv_missing_numbers(write, block_bytes):
    content = 'a,b,y\n1,,NA\n?,2,3\nnan,NaN,""\n NA , ? ,4\n'
    X, y, _, _ = read_all(write(content), target="y", target_dtype="float64")
    assert_array_equal(X, [[1, NAN], [NAN, 2], [NAN, NAN], [NAN, NAN]])
    assert_array_equal(y, [NAN, 3, NAN, 4])


def test_csv_missing_as_told(write):
    path = write("1,-999,2\n-,3,-999.0\n")
    X, *_ = read_all(path, missing=["-999", "-"])
    assert_array_equal(X, [[1, NAN, 2], [NAN, 3, -999]])
    with pytest.raises(ValueError, match=r"line 2: '' in column 1 is not a number"):
        read_all(write("1,2\n3,\n"), missing=["NA"])
    with pytest.raises(TypeError, match="missing must be a list of strings; got 'NA'"):
        reader(path, missing="NA")


@BLOCKS
def test_csv_labels(write, block_bytes):
    content = '5.5,"a, b",1\n6.5, ü ,2\n7.5,NA,3\n8.5,4,4\n'
    X, y, names, _ = read_all(
        write(content), target=1, target_dtype="str", block_bytes=block_bytes, header=False
    )
    assert_array_equal(X, [[5.5, 1], [6.5, 2], [7.5, 3], [8.5, 4]])
    assert_array_equal(y, ["a, b", "ü", "", "4"])
    assert names is None


def test_csv_targets_are_numbers_if_the_first_are(write):
    assert read_all(write("1,2\n3,4\n"), target=1)[1].dtype == np.float64
    assert_array_equal(read_all(write("1,2\n3,x\n"), target=1)[1], ["2", "x"])
    path = write("1,2\n1,2\n3,x\n")
    message = (
        f"{path}, line 3: 'x' in column 1 is not a number; for labels, pass target_dtype='str'"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        read_all(path, target=1, block_bytes=4)
    assert_array_equal(
        read_all(path, target=1, block_bytes=4, target_dtype="str")[1], ["2", "2", "x"]
    )
    with pytest.raises(ValueError, match="line 2: 'x' in column 1 is not a number"):
        read_all(write("1,2\n3,x\n"), target=1, target_dtype="float64")


@pytest.mark.parametrize(
    ("content", "options", "names"),
    [
        ("a,1\n", {"header": True}, ["a", "1"]),
        ("1,2\n", {"header": True}, ["1", "2"]),
        ("1,2\n", {"columns": ["2", "1"]}, ["2", "1"]),
        ("1,2\n", {"target": "1"}, ["2"]),
        ("1,cat\n", {"target": 1}, None),
        ("a,b,1\n", {"columns": [0, 1]}, ["a", "b"]),
        (",a,b\n", {}, ["", "a", "b"]),
        (",?,NA\n", {}, None),
        ("a,a\n", {}, ["a", "a"]),
    ],
)
def test_csv_header(write, content, options, names):
    with reader(write(content), **options) as file:
        assert file.names == names
        assert_array_equal(file.ends, [1] if names is None else [])


def test_csv_column_called_twice(write):
    with pytest.raises(ValueError, match="has 2 columns 'a'; pass a number"):
        reader(write("a,b,a\n1,2,3\n"), target="a")


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.tsv", "1\t2\n3\t4\n", {}),
        ("a.csv", "1;2\n3;4\n", {"delimiter": ";"}),
        ("a.csv", " 1   2\n\t\n  \n3\t4  \n", {"delimiter": "whitespace"}),
        ("a.txt", "1,2\n3,4\n", {}),
        ("a.txt", "1\t2\n3\t4\n", {}),
        ("a.txt", "  \n1 2\n 3  4\n", {}),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 1000])
def test_csv_delimiters(write, name, content, options, block_bytes):
    X, *_ = read_all(write(content, name), block_bytes=block_bytes, **options)
    assert_array_equal(X, [[1, 2], [3, 4]])


@pytest.mark.parametrize("delimiter", ["", ",,", "\n", '"'])
def test_csv_delimiter_refused(write, delimiter):
    with pytest.raises(ValueError, match="delimiter must be one character, 'whitespace' or None"):
        reader(write("1,2\n"), delimiter=delimiter)


GOOD = "1,2,3\n" * 16


@pytest.mark.parametrize("block_bytes", [10, 10**6])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2", "has 2 fields, not 3"),
        ("1,2,3,4", "has 4 fields, not 3"),
        ("1,2,", None),
        ("   ", "has 1 fields, not 3"),
        ("1,two,3", "'two' in column 1 is not a number"),
        ("1,2,0x10", "'0x10' in column 2 is not a number"),
        ("1,1_000,3", "'1_000' in column 1 is not a number"),
        ("1,٣,3", "'٣' in column 1 is not a number"),
        ("1,2 3,3", "'2 3' in column 1 is not a number"),
        ("1,2\x00,3", r"'2\x00' in column 1 is not a number"),
        ("1," + "x" * 10**6 + ",3", "'" + "x" * 40 + "...' in column 1 is not a number"),
        ('1,2,"3', "has an unclosed quote"),
        ('1,"2,3', "has 2 fields, not 3"),
        ("1,2\r,3", "has a carriage return in it"),
        (b"1,2,\xff", "is not text in UTF-8"),
    ],
)
def test_csv_bad_line(write, line, message, block_bytes):
    line = line if isinstance(line, bytes) else line.encode()
    path = write(GOOD.encode() + line + b"\n" + GOOD.encode())
    if message is None:
        assert_array_equal(read_all(path, block_bytes=block_bytes)[0][16], [1, 2, NAN])
        return
    expected = f"^{re.escape(f'{path}, line 17: {message}')}$"
    with pytest.raises(ValueError, match=expected):
        read_all(path, block_bytes=block_bytes)
    with pytest.raises(ValueError, match=expected):  # and with what is no number before it
        read_all(write(b"NA,2,3\n" + path.read_bytes()[6:]), block_bytes=block_bytes)


def test_csv_lines_are_checked_as_a_whole(write):
    # Whichever columns are read.
    with pytest.raises(ValueError, match="line 2: has 4 fields, not 3"):
        read_all(write("1,2,3\n1,2,3,4\n"), columns=[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: it holds neither names nor rows"),
        ("\n\r\n\n", "is empty"),
        ("1,x\n", "line 1: neither names nor numbers: has '1' in column 0, 'x' in column 1; if"),
        ("1,2\r3,4\r", "line 1: has a carriage return in it"),
        (b"\xff,1\n", "line 1: is not text in UTF-8"),
        ("1,2\n".encode("utf-16"), "is text in UTF-16; only UTF-8 can be read"),
    ],
)
def test_csv_refused_when_opened(write, content, message):
    path = write(content)
    with pytest.raises(ValueError, match=re.escape(str(path)) + ".*" + re.escape(message)):
        reader(path)


def test_csv_line_without_end(write, monkeypatch):
    monkeypatch.setattr("fastmlp.sources.text.MAX_BLOCK_BYTES", 2**20)
    with pytest.raises(ValueError, match="line 1: is longer than 1 MiB"):
        reader(write("1" * 2**21))
    with pytest.raises(ValueError, match="line 2: is longer than 1 MiB"):
        reader(write("1\n" + "2" * 2**22))


def test_csv_huge_fields(write):
    digits = "1." + "3" * 200_000
    X, y, _, _ = read_all(write(f"{digits},{'l' * 100_000}\n2,b\n"), target=1, block_bytes=1000)
    assert_array_equal(X, [[float(digits)], [2]])
    assert_array_equal(y, ["l" * 100_000, "b"])


def test_csv_beyond_float32(write):
    path = write("1e300,1e-300,0.1\n")
    assert_array_equal(read_all(path, dtype="float32")[0], np.array([[np.inf, 0, 0.1]], "f4"))


def test_csv_damaged_gzip_leaves_nothing(write, tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    zipped = gzip.compress(GOOD.encode())
    with pytest.raises(ValueError, match="is truncated or damaged gzip"):
        reader(write(zipped[:-9], "a.csv.gz"))
    with reader(write(zipped, "a.csv.gz")) as file:
        assert_array_equal(file.read(0)[0][0], [1, 2, 3])
    assert not list(folder.iterdir())


ANY_FLOATS = st.floats(allow_nan=True, allow_infinity=True)


@given(
    rows=st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(ANY_FLOATS, min_size=width, max_size=width), min_size=1)
    ),
    block_bytes=st.integers(1, 200),
    end=st.sampled_from(["\n", "\r\n"]),
    quote=st.booleans(),
)
@example(rows=[[5e-324, -0.0], [1.7976931348623157e308, 0.1]], block_bytes=7, end="\n", quote=True)
def test_csv_round_trip_of_floats(rows, block_bytes, end, quote):
    field = '"{!r}"' if quote else "{!r}"
    content = "".join(",".join(field.format(x) for x in row) + end for row in rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_bytes(content.encode())
        X, *_ = read_all(path, block_bytes=block_bytes)
    expected = np.array(rows)
    assert_array_equal(np.isnan(X), np.isnan(expected))
    numbers = ~np.isnan(expected)
    assert X[numbers].tobytes() == expected[numbers].tobytes()  # the sign of zero too


@pytest.mark.parametrize("block_bytes", [1, 7, 30, 10**6])
def test_svmlight_lines(write, block_bytes):
    content = (
        b"\xef\xbb\xbf# made by hand\n+1 1:0.5 3:2  # a 9:9\n\n  \n-1.5\r\n2 qid:7 2:1e-3\n# end\n0"
    )
    X, y, names, lines = read_all(write(content, "a.svm"), block_bytes=block_bytes)
    assert_array_equal(X, [[0.5, 0, 2], [0, 0, 0], [0, 1e-3, 0], [0, 0, 0]])
    assert_array_equal(y, [1, -1.5, 2, 0])
    assert names is None
    assert lines == [2, 5, 6, 8]


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("1 1:5 2:6\n", {"zero_based": True}, [[0, 5, 6]]),
        ("1 1:5 2:6\n", {"zero_based": "auto"}, [[5, 6]]),
        ("1 1:5\n2 qid:3 0:4\n", {"zero_based": "auto"}, [[0, 5], [4, 0]]),
        ("1 1:5 2:6\n", {"n_features": 4}, [[5, 6, 0, 0]]),
        ("1 0:5 2:6\n", {"n_features": 4, "zero_based": "auto"}, [[5, 0, 6, 0]]),
        ("1 0:5 2:6\n", {"n_features": 3, "zero_based": True}, [[5, 0, 6]]),
        ("1 1:1e300\n", {"dtype": "float32"}, [[np.inf]]),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 1000])
def test_svmlight_options(write, content, options, expected, block_bytes):
    X, *_ = read_all(write(content, "a.svm"), block_bytes=block_bytes, **options)
    assert_array_equal(X, expected)
    assert X.dtype == options.get("dtype", "float64")


def test_svmlight_blocks_are_small_in_memory(write):
    # Few bytes of text may be many columns: rows are then dealt out to more blocks.
    content = "0 1:1\n\n" * 50 + "1 30000:2 # the last\n" + "2 2:1\n" * 50
    for options in ({}, {"n_features": 30000}):
        with reader(write(content, "a.svm"), block_bytes=30_000, **options) as file:
            sizes = np.diff(file.ends, prepend=0)
            assert sizes.max() == 2
            assert file.ends[-1] == 101
            assert file.where(50).endswith("line 101")
        X, y, _, _ = read_all(write(content, "a.svm"), block_bytes=30_000, **options)
        assert_array_equal(np.argmax(X, axis=1), [0] * 50 + [29999] + [1] * 50)
        assert_array_equal(y, [0] * 50 + [1] + [2] * 50)
    with reader(write(content, "a.svm"), block_bytes=30_000, columns=[1, -1]) as file:
        assert_array_equal(file.ends, [101])


@pytest.mark.parametrize("block_bytes", [10, 10**6])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a 1:1", "could not convert string to float: b'a'"),
        ("1,2 1:1", "could not convert string to float: b'1,2'"),
        ("1 1:x", "could not convert string to float: b'x'"),
        ("1 2", "need more than 1 value"),
        ("1 0:1", "a column has number 0; pass zero_based=True, or 'auto'"),
        ("1 -1:1", "Invalid index -1"),
        ("1 4:1", "n_features was set to 3, but input file contains 4"),
        ("1 2:1 1:1", "should be sorted"),
        ("1 99999999999:1", "value too large"),
    ],
)
def test_svmlight_bad_line(write, line, message, block_bytes):
    path = write("1 1:1 3:2\n" * 16 + line + "\n" + "1 2:3\n" * 9, "a.svm")
    with pytest.raises(ValueError, match=re.escape(f"{path}, line 17: ") + ".*" + message):
        read_all(path, n_features=3, block_bytes=block_bytes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 0}, "target must be None for SVMlight files: it is the first field"),
        ({"n_features": 0}, "n_features must be at least 1; got 0"),
        ({"zero_based": "yes"}, "zero_based must be True, False or 'auto'; got 'yes'"),
        ({"columns": [3]}, r"columns\[0\] must be a column of .*, from -2 to 1; got 3"),
        ({"dtype": "int64"}, "dtype must be one of 'float64', 'float32'; got 'int64'"),
    ],
)
def test_svmlight_refused(write, options, message):
    with pytest.raises(ValueError, match=message):
        reader(write("1 1:1 2:2\n", "a.svm"), **options)


@pytest.mark.parametrize("content", ["", "# nothing\n", "1\n2\n"])
def test_svmlight_without_columns(write, content):
    with pytest.raises(ValueError, match="has no column with an entry; pass n_features"):
        reader(write(content, "a.svm"))
    with reader(write(content, "a.svm"), n_features=2) as file:
        assert file.ends.sum() == (2 if content == "1\n2\n" else 0)
