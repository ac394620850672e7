"""Training on sources: the same bits as in memory, read ahead by a thread, errors and all."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

import cases_tables
import fastmlp as fm
from cases import problem, same_bits
from cases_interrupts import Lines, one_of_each, traced
from cases_runs import exit_code_of_a_fork
from cases_sources import Rows
from fastmlp import workspace
from fastmlp.solvers import samples, trainers
from fastmlp.solvers.holdout import Holdout
from fastmlp.solvers.orders import BUFFER_RUNS, BufferedOrder
from fastmlp.sources import file_source
from fastmlp.sources.read_ahead import ReadAhead

N = 131
NET = fm.Network([5, 9, 3], hidden="tanh", output="softmax")
W, X, Y = problem(NET, N, np.random.default_rng(0))
WEIGHTS = np.random.default_rng(1).random(N) + 0.1


@pytest.fixture(params=["large buffers", "small buffers"])
def _buffers(request, monkeypatch):
    if request.param == "small buffers":
        monkeypatch.setattr(samples, "CONVERTED_BYTES", 200)
        monkeypatch.setattr(workspace, "FEWEST_ROWS", 8)
        monkeypatch.setattr(workspace, "MOST_ROWS", 8)


def sgd(X, y, **options):
    return fm.sgd(NET, X, y, W, step=0.1, epochs=2, rng=3, **options).x


def minibatch(X, y, **options):
    settings = {"batch_size": 13, "epochs": 3, "step": 0.1, "rng": 3, **options}
    return fm.minibatch_sgd(NET, X, y, W, **settings).x


SOLVERS = {
    "sgd": sgd,
    "sgd of weights": lambda X, y: sgd(X, y, sample_weight=WEIGHTS),
    "batches": minibatch,
    "large batches": lambda X, y: minibatch(X, y, batch_size=97),
    "one batch": lambda X, y: minibatch(X, y, batch_size=None),
    "adam": lambda X, y: minibatch(X, y, rule="adam", dropout=0.2, sample_weight=WEIGHTS),
    "replacement": lambda X, y: minibatch(X, y, order="replacement"),
    "sequential": lambda X, y: minibatch(X, y, order="sequential"),
    "buffered": lambda X, y: minibatch(X, y, order="buffered"),
    "validation": lambda X, y: minibatch(X, y, validation=0.3, patience=2, scoring="accuracy"),
    "gradient_descent": lambda X, y: fm.gradient_descent(fm.Objective(NET, X, y), W, max_iter=3).x,
    "nothing kept": lambda X, y: (
        fm.gradient_descent(
            fm.Objective(NET, X, y, kept_bytes=0), W, max_iter=3, direction="conjugate"
        ).x
    ),
    "minimize": lambda X, y: fm.minimize(fm.Objective(NET, X, y), W, max_iter=3).x,
    "newton": lambda X, y: fm.minimize(fm.Objective(NET, X, y), W, "Newton-CG", max_iter=2).x,
    "predict": lambda X, y: NET.predict(W, X),
    "loss": lambda X, y: np.array(NET.loss(W, X, y)),
    "gradient": lambda X, y: NET.gradient(W, X, y),
    "sample_gradients": lambda X, y: NET.sample_gradients(W, X, y),
    "jacobian": lambda X, y: NET.jacobian(W, X),
}
every_solver = pytest.mark.parametrize("name", SOLVERS)


@every_solver
@pytest.mark.usefixtures("_buffers")
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_the_same_bits_as_in_memory(name, dtype):
    data = (20 * abs(X)).astype(dtype) / (1 if dtype == "uint8" else 20)
    data = data.astype(dtype)
    expected = SOLVERS[name](data, Y)
    source = Rows(data)
    assert same_bits(SOLVERS[name](source, Y), expected)
    assert source.n_read > 0


@pytest.mark.usefixtures("_buffers")
def test_without_random_access():
    source = Rows(X, has_random_access=False)
    assert same_bits(minibatch(source, Y), minibatch(X, Y, order="buffered"))
    assert not same_bits(minibatch(source, Y), minibatch(X, Y))


@pytest.mark.usefixtures("_buffers")
def test_in_blocks(monkeypatch):
    """A batch that is too slow to be done at once."""
    monkeypatch.setattr(trainers, "LONGEST_SECONDS", -1.0)
    monkeypatch.setattr(trainers, "RUN_SECONDS", 0.0)
    monkeypatch.setattr(trainers, "LEAST_ROWS", 8)
    for size in (13, 97):
        expected = minibatch(X, Y, batch_size=size)
        assert same_bits(minibatch(Rows(X), Y, batch_size=size), expected)


def test_validation_on_a_source():
    given = X[:40], Y[:40]
    expected = minibatch(X, Y, validation=given, patience=1)
    assert same_bits(minibatch(Rows(X), Y, validation=(Rows(X[:40]), Y[:40]), patience=1), expected)


def test_nan_of_a_users_source():
    bad = X.copy()
    bad[77, 3] = np.nan
    with pytest.raises(ValueError, match=r"X must be finite; row 77, column 3 is nan"):
        minibatch(Rows(bad), Y)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="X has 4 features, the network expects 5"):
        minibatch(Rows(X[:, :4]), Y)
    with pytest.raises(ValueError, match="y has 131 samples, X has 130"):
        minibatch(Rows(X[:-1]), Y)
    with pytest.raises(ValueError, match="X must hold real numbers; got dtype complex64"):
        minibatch(Rows(X.astype("complex64")), Y)


@pytest.mark.parametrize("extension", cases_tables.FORMATS)
@pytest.mark.parametrize("limit", ["1 GB", 6000], ids=["in memory", "streamed"])
def test_every_format(extension, limit, tmp_path, monkeypatch):
    monkeypatch.setattr(file_source, "BUFFER_BYTES", 1000)
    monkeypatch.setattr(file_source, "shuffle_bytes", lambda table: 0)
    table, y = np.tile(X, (3, 1)), np.tile(Y, 3)
    path, options = cases_tables.write(tmp_path, extension, table, y)
    rows = fm.sources.open(path, memory_limit=limit, **options)
    assert (rows.in_memory is None) == (limit == 6000)
    for order in ("shuffled", "buffered"):
        if order == "buffered" or rows.in_memory is not None:
            expected = minibatch(table, y, order=order)
            assert same_bits(minibatch(rows, rows.y, order=order), expected)
    expected = SOLVERS["gradient_descent"](table, y)
    assert same_bits(SOLVERS["gradient_descent"](rows, rows.y), expected)
    assert same_bits(NET.predict(W, rows), NET.predict(W, table))


# Checkpoints ---------------------------------------------------------------------------------


@pytest.mark.parametrize("random_access", [True, False])
def test_resume_elsewhere(random_access, tmp_path, monkeypatch):
    """Memory or disk: a run begun on one goes on on the other."""
    monkeypatch.setattr(samples, "CONVERTED_BYTES", 200)
    order = "shuffled" if random_access else "buffered"
    path, source = tmp_path / "run", Rows(X, random_access)
    expected = minibatch(X, Y, order=order)
    stop = iter([None, True])
    minibatch(source, Y, callback=lambda _: next(stop), checkpoint=path)
    assert same_bits(minibatch(X, Y, order=order, checkpoint=path, resume=True), expected)


def test_a_disk_that_fails(tmp_path, monkeypatch):
    """The error comes as it is, and the checkpoint has all that was done."""
    monkeypatch.setattr(samples, "CONVERTED_BYTES", 20 * 13)
    expected, path = minibatch(X, Y), tmp_path / "run"
    before = Rows(X)
    minibatch(before, Y)
    for fails_at in range(2, before.n_read + 1, 3):
        source = Rows(X)
        source.fails_at = fails_at
        with pytest.raises(OSError, match="the disk is gone"):
            minibatch(source, Y, checkpoint=path / str(fails_at) if path.exists() else path)
        if path.exists():
            resumed = minibatch(Rows(X), Y, checkpoint=path, resume=True)
            assert same_bits(resumed, expected)
            path.unlink()


def test_interrupt_at_any_line(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "CONVERTED_BYTES", 200)
    expected, path = minibatch(X, Y), tmp_path / "run"
    every = Lines()
    for _ in range(2):
        every = Lines()
        traced(every, lambda: minibatch(Rows(X), Y))
    n_resumed = 0
    for at in one_of_each(every.seen, rng, most=60):
        lines = Lines(at)
        traced(lines, lambda: minibatch(Rows(X), Y, checkpoint=path))
        n_resumed += path.exists()
        assert same_bits(minibatch(Rows(X), Y, checkpoint=path, resume=True), expected)
        path.unlink()
    assert n_resumed > 10


def test_interrupt_between_the_last_update_and_the_epochs_end(tmp_path, monkeypatch):
    """The epoch has no more samples then, in whatever order."""
    evaluate, n_calls = Holdout.evaluate, iter(range(99))

    def interrupted(self, w):
        if next(n_calls) == 1:
            raise KeyboardInterrupt
        return evaluate(self, w)

    for order in ("shuffled", "buffered", "replacement", "sequential"):
        settings = {"order": order, "validation": 0.3}
        expected, path = minibatch(X, Y, **settings), tmp_path / order
        n_calls = iter(range(99))
        with monkeypatch.context() as patch:
            patch.setattr(Holdout, "evaluate", interrupted)
            with pytest.warns(RuntimeWarning, match="Interrupted"):
                minibatch(Rows(X), Y, **settings, checkpoint=path)
        found = minibatch(Rows(X), Y, **settings, checkpoint=path, resume=True)
        assert same_bits(found, expected)


# Reading ahead -------------------------------------------------------------------------------


def test_rows_are_read_by_a_thread(monkeypatch):
    monkeypatch.setattr(samples, "CONVERTED_BYTES", 200)
    source = Rows(X)
    minibatch(source, Y)
    assert any(name.startswith("fastmlp-reading") for name in source.threads)


@pytest.mark.parametrize("name", ["predict", "loss", "gradient", "gradient_descent", "batches"])
@pytest.mark.usefixtures("_buffers")
def test_nothing_is_read_that_is_empty(name):
    """It would wait for the rows that are read meanwhile."""
    lengths = []

    class Noted(Rows):
        def read(self, rows, out):
            lengths.append(len(out))
            super().read(rows, out)

    SOLVERS[name](Noted(X), Y)
    assert min(lengths) > 0


def test_buffers_are_not_written_while_in_use(rng):
    source = Rows(X)
    ahead = ReadAhead(source, np.dtype("float64"), 20)
    rows = [rng.integers(0, N, 20) for _ in range(50)]
    for now, following in pairwise(rows):
        view = ahead.rows(now)
        ahead.expect(following)
        if rng.random() < 0.3:
            time.sleep(0.001)  # the thread gets ahead
        assert np.array_equal(view, X[now])
        if rng.random() < 0.2:
            other = rng.integers(0, N, 7)  # not what was expected
            assert np.array_equal(ahead.rows(other), X[other])


def test_an_error_in_the_thread_is_raised_where_its_rows_are_asked_for():
    source = Rows(X)
    ahead = ReadAhead(source, np.dtype("float32"), 20)
    source.fails_at = 2
    ahead.rows(slice(0, 20))
    ahead.expect(slice(20, 40))
    with pytest.raises(OSError, match="the disk is gone"):
        ahead.rows(slice(20, 40))
    assert np.array_equal(ahead.rows(slice(20, 40)), X[20:40])
    source.fails_at = source.n_read + 1
    ahead.expect(slice(40, 60))
    assert np.array_equal(ahead.rows(slice(0, 20)), X[:20])  # and not where others are


def test_without_threads(monkeypatch):
    """As while Python ends, when other threads go on."""

    def refuse(*_):
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(samples, "CONVERTED_BYTES", 200)
    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    source = Rows(X)
    assert same_bits(minibatch(source, Y), minibatch(X, Y))
    assert source.threads == {threading.current_thread().name}


def test_interrupt_when_a_thread_has_begun(monkeypatch):
    """What it writes is in no one's way."""
    source, submit = Rows(X), ThreadPoolExecutor.submit
    ahead = ReadAhead(source, np.dtype("float64"), 20)
    begun = []

    def interrupted(*arguments):
        begun.append(submit(*arguments))
        raise KeyboardInterrupt

    ahead.rows(slice(0, 20))
    with monkeypatch.context() as patch:
        patch.setattr(ThreadPoolExecutor, "submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ahead.expect(slice(20, 40))
    begun[0].result()
    source.read = lambda rows, out: None  # shows what is there
    assert not np.array_equal(ahead.rows(slice(20, 40)), X[20:40])


def test_after_a_fork(tmp_path):
    """Of a process whose thread may be reading just then."""
    table = np.tile(X, (300, 1))
    np.save(tmp_path / "x.npy", table)
    source = fm.sources.open(tmp_path / "x.npy")
    ahead = ReadAhead(source, np.dtype("float32"), len(table))
    ahead.rows(slice(0, 10))

    def later():
        return ahead.rows(slice(10, 20)).tolist()

    for _ in range(5):
        ahead.expect(np.arange(len(table))[::-1])
        assert exit_code_of_a_fork(later, table[10:20].tolist()) == 0
        assert later() == table[10:20].tolist()


# The order of runs ---------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 7, 100, 1001])
@pytest.mark.parametrize("width", [2**18, 2**15, 2**12])
def test_buffered_order(n, width):
    run = 2**18 // width
    order = BufferedOrder(n, np.random.default_rng(0), width)
    epochs = []
    for _ in range(3):
        order.begin_epoch()
        places, taken = 0, []
        while places < n:
            stop = min(places + 1 + places % 37, n)
            taken.append(order.take(places, stop))
            places = stop
        epochs.append(np.concatenate(taken))
        assert np.array_equal(np.sort(epochs[-1]), np.arange(n))
        # Any buffer's samples are of few runs.
        for start in range(0, n, BUFFER_RUNS * run):
            runs = np.unique(epochs[-1][start : start + BUFFER_RUNS * run] // run)
            assert len(runs) <= BUFFER_RUNS + run  # the shortest run moves those after it
    if n > 7:
        assert not np.array_equal(epochs[0], epochs[1])


def test_buffered_order_mixes():
    """Within a buffer each sample is as likely at each place."""
    n, width = 640, 2**18 // 20
    sums = np.zeros(n)
    order = BufferedOrder(n, np.random.default_rng(0), width)
    n_epochs = 400
    for _ in range(n_epochs):
        order.begin_epoch()
        sums[order.take(0, n)] += np.arange(n)
    deviation = np.sqrt((n**2 - 1) / 12 / n_epochs)
    assert abs(sums / n_epochs - (n - 1) / 2).max() < 4.5 * deviation
