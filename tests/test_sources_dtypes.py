"""Sources: the numbers of rows are the same wherever they are kept, and in whatever dtype."""

import numpy as np
import pytest

import fastmlp as fm
from cases import same_bits
from fastmlp.sources import file_source
from fastmlp.sources.subset import Subset

N = 203


@pytest.fixture(params=[False, True], ids=["in memory", "streamed"])
def opened(request, monkeypatch, tmp_path):
    """Return a source of an array, in memory or not, by way of a CSV file."""
    for name in ("BUFFER_BYTES", "BORDER_BYTES", "RUN_NUMBERS"):
        monkeypatch.setattr(file_source, name, 1)

    def source(X, limit=1500, **options):
        np.savetxt(tmp_path / "x.csv", X, delimiter=",", fmt="%.17g")
        limit = limit if request.param else "1 GB"
        found = fm.sources.open(tmp_path / "x.csv", memory_limit=limit, **options)
        assert (found.in_memory is None) == request.param
        return found

    return source


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("out_dtype", ["float32", "float64"])
def test_numbers_are_rounded_once_for_all(dtype, out_dtype, opened, rng):
    X = rng.standard_normal((N, 4))
    out = np.empty(X.shape, out_dtype)
    opened(X, dtype=dtype).read(slice(0, N), out)
    assert same_bits(out, X.astype(dtype).astype(out_dtype))


@pytest.mark.parametrize(
    ("dtype", "number"),
    [("float16", 1e5), ("float32", 1e39), ("uint8", 256), ("uint8", -1), ("int32", 0.5)],
)
def test_what_a_dtype_cannot_hold(dtype, number, opened):
    X = np.ones((N, 4))
    X[7, 2], X[3, 0] = number, np.nan
    message = rf"x\.csv, line 8: column 2 is {float(number)!r}, which {dtype} cannot hold"
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        opened(X, dtype=dtype, on_missing="drop", limit=700)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_rows_left_out_are_not_converted(dtype, opened):
    X = np.arange(4.0 * N).reshape(N, 4) % 200
    bad = X.copy()
    bad[::5, 1] = np.nan
    source = opened(bad, dtype=dtype, on_missing="drop", limit=1600)
    expected = X[np.arange(N) % 5 > 0].astype(dtype)
    assert same_bits(source[:], expected)
    assert source.n_dropped == -(-N // 5)
    assert source.where(0).endswith("line 2")


def test_shards_of_several_dtypes(tmp_path, monkeypatch):
    """Numbers are those of the common dtype, though int64 would be rounded to float32 otherwise."""
    for name in ("BUFFER_BYTES", "BORDER_BYTES", "RUN_NUMBERS"):
        monkeypatch.setattr(file_source, name, 1)
    X = np.full((N, 2), 2**62 + 2**38 + 1)
    Z = np.full((N, 2), 0.5, np.float32)
    np.savez(tmp_path / "a.npz", X=X)
    np.savez(tmp_path / "b.npz", X=Z)
    expected = np.concatenate([X, Z]).astype(np.float64).astype(np.float32)
    for limit in (6500, "1 GB"):
        source = fm.sources.open(tmp_path / "*.npz", memory_limit=limit, block_bytes=200)
        assert source.dtype == np.float64
        assert (source.in_memory is None) == (limit == 6500)
        out = np.empty((2 * N, 2), np.float32)
        source.read(slice(0, 2 * N), out)
        assert same_bits(out, expected)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_sums_that_overflow(dtype, tmp_path):
    most = np.finfo(dtype).max
    X = np.full((100, 3), most)
    X[:50] = -most
    X[60, 1] = np.nan
    np.save(tmp_path / "x.npy", X)
    source = fm.sources.open(tmp_path / "x.npy", target=0, on_missing="drop")
    assert source.shape == (99, 2)
    assert source.greatest == most
    assert set(source.y) == {-most, most}


def test_what_is_known_to_be_finite_is_not_looked_through(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((N, 5)))
    source, net = fm.sources.open(tmp_path / "x.npy"), fm.Network([5, 1])
    for X in (source, Subset(source, np.arange(N)), fm.sources.scaled(source, [1] * 5, [2] * 5)):
        limit, X.n_read, read = X.greatest, 0, X.read

        def noted(rows, out, X=X, read=read):
            X.n_read += len(out)
            read(rows, out)

        X.read = noted
        net.predict(net.init(0), X)
        assert X.n_read == N
        assert np.abs(X[:]).max() <= limit < np.inf
