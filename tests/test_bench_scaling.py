"""Scaling and the roofline: what is counted, streamed, shown and written; on tiny works."""

import csv
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest

import fastmlp as fm
from bench import roofline, scaling, scaling_studies
from bench.call import Call
from bench.roofline import PRODUCTS, Kernel, Roofline, Round, Timed
from bench.roofline_chart import Box, placed
from bench.scaling_chart import spread, ticks
from bench.scaling_points import (
    BATCHES,
    BLOCK_ROWS,
    Measured,
    Point,
    Repeated,
    StreamedWork,
    make,
    powers,
)
from bench.scaling_studies import STUDIES, Result
from bench.works import Work, n_cores

ENVIRONMENT = {"CPU": "an abacus", "cores": "2"}


@pytest.fixture(autouse=True)
def threads():
    """Give the threads back that points change."""
    import numba

    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


def point(line="a line", x=1, widths=(3, 4, 2), threads=2, kind=Work, n_samples=20):
    return Point(line, x, kind(f"{line} {x}", widths, 5, n_samples), threads)


def result(name="width"):
    """Return two lines of two points; from one to the next, flops and time grow differently."""
    slow, fast = [Measured(10.0, 1000.0, 5e6, 20)] * 3, [Measured(40.0, 2000.0, 6e6, 20)] * 3
    return Result(
        name,
        {
            point("a", 1): fast, point("a", 2, (3, 8, 2)): slow,
            point("b", 1): slow, point("b", 2, (3, 8, 2)): [*fast[:2], slow[0]],
        },
        {"c, 1": "MemoryError"},
    )  # fmt: skip


# A table that is made as it is read.


def test_rows_are_a_blocks_again_and_again():
    table = Repeated(2 * BLOCK_ROWS + 5, 3)
    first, last = table[:5], table[2 * BLOCK_ROWS : 2 * BLOCK_ROWS + 5]
    assert len(np.unique(first)) == 15
    np.testing.assert_array_equal(first, last)
    np.testing.assert_array_equal(table[np.array([BLOCK_ROWS + 4, 1])], first[[4, 1]])
    assert table.n_read == 12


def test_rows_are_converted():
    table, out = Repeated(4, 3), np.empty((4, 3))
    table.read(slice(0, 4), out)
    np.testing.assert_array_equal(out, table[:4])


def test_a_table_of_a_hundred_million_rows_takes_the_memory_of_one_block():
    table = Repeated(10**8, 16)
    held = [table._block, table.y]
    assert sum(array.nbytes for array in held if 0 not in array.strides) == 4 * 16 * BLOCK_ROWS
    assert table.shape == (10**8, 16)
    assert table.y.shape == (10**8,)
    assert np.abs(table[:1000]).max() <= table.greatest < 10


def test_training_reads_each_row_once_an_epoch():
    work = StreamedWork("streamed", (3, 4, 2), 16, 10_000)
    net = fm.Network(work.widths, output="softmax")
    fm.minibatch_sgd(net, *work.data(), net.init(rng=0), batch_size=16, epochs=3, rng=0)
    assert work.table.n_read == 30_000


# A point, and the studies.


@pytest.mark.parametrize("kind", [Work, StreamedWork])
def test_a_point_is_measured(kind):
    import numba

    measured = make(point(threads=1, kind=kind))()
    assert numba.get_num_threads() == 1
    assert measured.rate > 0
    assert measured.peak > 0
    assert measured.resident > 1e6
    assert measured.n_samples > 0
    assert measured.n_samples % 20 == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((1, 4), [1, 2, 4]),
        ((1, 7), [1, 2, 4]),
        ((16, 16), [16]),
        ((1000, 10**5, 10), [1000, 10**4, 10**5]),
    ],
)
def test_powers(arguments, expected):
    assert powers(*arguments) == expected


@pytest.mark.parametrize("name", STUDIES)
def test_points_are_told_apart_and_grow(name):
    points = list(STUDIES[name].points())
    assert len({each.name for each in points}) == len(points) > 1
    for _, line in Result(name, {each: [] for each in points}).lines():
        xs = [each.x for each in line]
        assert xs == sorted(xs)
    assert all(each.work.n_samples >= BATCHES for each in points)
    assert all(1 <= each.threads <= n_cores() for each in points)


def test_what_grows_is_what_the_study_is_called_for():
    found = {name: list(study.points()) for name, study in STUDIES.items()}
    assert all(each.x == each.threads for each in found["threads"])
    assert max(each.x for each in found["threads"]) == n_cores()
    assert all(each.x == each.work.batch_size for each in found["batch"])
    assert all(each.work.widths == (each.x,) * 3 + (10,) for each in found["width"])
    assert all(len(each.work.widths) == each.x + 2 for each in found["depth"])
    assert all(each.x == each.work.n_samples for each in found["rows"])


# Tables.


def test_table():
    heading, *rows = result().table()
    lines = [dict(zip(heading, row, strict=True)) for row in rows]
    assert [line[""] for line in lines] == ["a", "a", "b", "b"]
    assert [line["width"] for line in lines] == ["1", "2", "1", "2"]
    assert [line["samples/s"] for line in lines] == ["40", "10", "10", "40"]
    assert lines[3]["lowest"] == "10"
    assert lines[3]["highest"] == "40"
    assert lines[1]["time of a sample / first"] == "4.00 (4.00 .. 4.00)"
    assert lines[3]["time of a sample / first"] == "0.25 (0.25 .. 1.00)"
    # 3-4-2: 4 * 12 + 6 * 8 = 96 flops; 3-8-2: twice as many.
    assert [line["flops of a sample / first"] for line in lines] == ["1", "2", "1", "2"]
    assert lines[0]["GFLOP/s"] == f"{96 * 40 / 1e9:.3g}"
    assert lines[0]["of the peak"] == "96.0% (96.0% .. 96.0%)"  # 96 * 40 / (2 threads * 2000)


def test_memory_and_rows_are_told_where_they_matter():
    rows = Result("rows", {point(): [Measured(1.0, 1.0, 5e6, 20), Measured(1.0, 1.0, 7e6, 40)]})
    heading, row = rows.table()
    assert heading[-2:] == ["rows streamed", "resident, MB"]
    assert row[-2:] == ["40", "7"]
    assert "resident, MB" not in result().table()[0]


def test_what_failed_is_told():
    assert "c, 1 left out: MemoryError" in result().notes()
    assert Result("width", {}, {"c, 1": "MemoryError"}).notes() == ["c, 1 left out: MemoryError"]


# The roofline.


def rounds(n=3):
    """Return what two kernels do at 100 flops/s of a core, 10 bytes/s from memory."""
    calls = {
        "forward, left": Timed(10, 40, 2.0), "function, right": Timed(4000, 100, 50.0),
    }  # fmt: skip
    return [Round(100.0, 10.0, 50.0, calls) for _ in range(n)]


def dots(made):
    return [Kernel("forward", "left", 2, made), Kernel("function", "right", 1, made)]


def never():
    raise AssertionError("nobody measures here")


def test_a_kernel_is_below_the_lower_of_its_roofs():
    left, right = Roofline(rounds(), kernels=dots(never)).dots()
    assert (left.intensity, left.rates, left.roof) == (0.25, [5.0] * 3, 2.5)
    assert (right.intensity, right.rates, right.roof) == (40, [80.0] * 3, 100)
    heading, *rows = Roofline(rounds(), kernels=dots(never)).table()
    assert heading[-2:] == ["of its roof", "roof"]
    assert [row[-2:] for row in rows] == [["200%", "memory, but in caches"], ["80%", "arithmetic"]]


def test_a_roofline_that_failed_is_told():
    failed = Roofline([], "MemoryError: no")
    assert failed.notes() == ["left out: MemoryError: no"]
    assert len(failed.table()) == 1


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(roofline, "SHAPES", ((5, 7, 3),))
    monkeypatch.setattr(roofline, "LAYERS", ((5, 7),))
    monkeypatch.setattr(roofline, "OUTPUTS", (11,))
    monkeypatch.setattr(roofline, "SOFTMAX_ROWS", 3)
    return {kernel.name: kernel for kernel in roofline.kernels()}


def counted(kernel):
    call = kernel.make()
    return call.flops, call.bytes


def test_products_are_counted(small):
    inputs, weights, outputs, phi = 4 * 3 * 5, 4 * 5 * 7, 4 * 3 * 7, 4 * 3 * 5
    n_bytes = {
        "forward": inputs + weights + outputs,
        "backward": outputs + weights + phi + inputs,  # phi' is of the inputs
        "weight gradient": inputs + outputs + weights,
    }
    for kind, phase in PRODUCTS.items():
        assert counted(small[f"{kind}, 5×7, batch 3"]) == (2 * 3 * 5 * 7, n_bytes[phase])


def test_updates_are_counted(small):
    n = 5 * 7 + 7
    assert counted(small["update rule, sgd, 5×7"]) == (2 * n, 4 * 3 * n)
    assert counted(small["update rule, momentum, 5×7"]) == (4 * n, 4 * 5 * n)
    assert counted(small["update rule, adam, 5×7"])[1] == 4 * 7 * n


def test_a_softmax_is_counted(small):
    exponential, logarithm = 23, 26
    flops, n_bytes = counted(small["function, softmax of 11"])
    assert flops == 3 * 11 * (exponential + 4) + 3 * logarithm
    assert n_bytes == 4 * 3 * 11 * 2  # outputs read, deltas written


def test_a_step_by_one_sample_is_counted_as_a_batch_of_one():
    call = roofline.one_by_one("tiny")  # 2-16-2
    n = call.elements
    assert call.flops == n * (6 * (2 * 16 + 16 * 2) - 2 * 2 * 16)
    assert call.bytes > n * 3 * 4 * (2 * 16 + 16 * 2)  # weights read twice, written once
    call.repeat(1)


def test_a_call_is_repeated_from_the_start():
    told, array = [], np.ones(1)

    def repeat(n_times):
        told.append((n_times, array[0]))
        array[0] = 5

    call = Call(repeat, 1, 1, 1, (array,))
    assert roofline.seconds_of(call, 7) > 0
    assert roofline.seconds_of(call, 3) > 0
    assert told == [(7, 1), (3, 1)]


@pytest.mark.parametrize(("n_times", "expected"), [(1, 3.0), (2, 1.0), (3, 3.0)])
def test_a_stream_adds_and_subtracts_everywhere(n_times, expected):
    from bench.kernel_loops import add_and_subtract

    x, y = np.ones(1001, np.float32), np.full(1001, 2, np.float32)
    add_and_subtract(x, y, n_times, 2)
    np.testing.assert_array_equal(x, np.full(1001, expected, np.float32))


def test_a_stream_is_measured():
    from bench.bandwidth import Stream

    assert Stream(1000, 2).bytes_per_second() > 0


def test_all_kernels_run(small, monkeypatch):
    from bench import bandwidth

    monkeypatch.setattr(roofline, "SECONDS", 1e-4)
    monkeypatch.setattr(bandwidth, "NUMBERS", 1000)
    chosen = [kernel for name, kernel in small.items() if "training step" not in name]
    monkeypatch.setattr(roofline, "kernels", lambda: chosen)
    its = roofline.make()()
    assert list(its.calls) == [kernel.name for kernel in chosen]
    assert all(min(call) > 0 for call in its.calls.values())
    assert min(its.peak, its.memory, its.cache) > 0


# Charts.


def test_labels_are_kept_apart_in_their_order():
    heights = [0.5, 0.51, 0.1, 0.99, 1.0]
    found = spread(heights, 0.1)
    assert sorted(range(5), key=found.__getitem__) == sorted(range(5), key=heights.__getitem__)
    assert min(np.diff(sorted(found))) > 0.0999
    assert max(found) <= 1
    assert min(found) >= 0
    assert spread([0.2, 0.8], 0.1) == [0.2, 0.8]


def test_few_ticks_with_the_last():
    assert ticks([1, 2, 4]) == [1, 2, 4]
    assert ticks([2**k for k in range(13)]) == [2**k for k in range(0, 13, 2)]


def test_names_of_dots_do_not_overlap():
    frame = Box(0, 0, 1000, 1000)
    anchors = [[(500, 500)], [(505, 500)], [(500, 505), (990, 990)]]
    found = placed(anchors, [(100, 20)] * 3, [Box(400, 495, 495, 505)], frame, 1)
    boxes = [box for _, box in found]
    assert all(box.outside(frame) == 0 for box in boxes)
    for k, box in enumerate(boxes):
        assert all(box.shared(other) == 0 for other in boxes[:k])
        assert box.shared(Box(400, 495, 495, 505)) == 0


def drawn(path):
    image = matplotlib.image.imread(path)
    return image.shape[0] > 400 and image.shape[1] > 1000 and np.ptp(image[..., :3]) > 0.5


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_drawn(name, tmp_path):
    result(name).draw(ENVIRONMENT, tmp_path / "a.png")
    assert drawn(tmp_path / "a.png")


def test_a_roofline_is_drawn(tmp_path):
    Roofline(rounds(), kernels=dots(never)).draw(ENVIRONMENT, tmp_path / "a.png")
    assert drawn(tmp_path / "a.png")


def test_nothing_is_drawn_of_nothing(tmp_path):
    Result("width", {}).draw(ENVIRONMENT, tmp_path / "a.png")
    Roofline([], "failed").draw(ENVIRONMENT, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


# The command.


@pytest.fixture
def made_up(monkeypatch):
    monkeypatch.setattr(scaling_studies, "measure", lambda name, n: replace(result(), name=name))
    made = Roofline(rounds(), kernels=dots(never))
    monkeypatch.setattr(roofline, "measure", lambda n: replace(made, rounds=rounds(n)))


def test_files_are_written(made_up, tmp_path, capsys):
    assert scaling.main(["--rounds", "2", "--output", str(tmp_path)]) == 0
    names = [*STUDIES, "roofline"]
    files = [f"{name}.{kind}" for name in names for kind in ("csv", "md", "png")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)
    for name in names:
        text = (tmp_path / f"{name}.md").read_text()
        assert text.startswith(f"# Scaling: {name}: ")
        assert f"`python -m bench.scaling {name} --rounds 2`" in text
        assert "| CPU |" in text
    assert "of its roof" in text
    told = capsys.readouterr().out
    assert all(f"\n{name}: " in told for name in names)
    rows = list(csv.DictReader((tmp_path / "depth.csv").read_text().splitlines()))
    assert (len(rows), rows[0]["rate"], rows[0]["flops"]) == (12, "40.0", "96")
    rows = list(csv.DictReader((tmp_path / "roofline.csv").read_text().splitlines()))
    assert len(rows) == 2 * (3 + 2)


def test_studies_are_chosen_by_name(made_up, capsys):
    assert scaling.main(["roofline", "--rounds", "1", "depth"]) == 0
    told = capsys.readouterr().out
    assert told.index("depth: ") < told.index("roofline: ")
    assert "width: " not in told


@pytest.mark.parametrize("arguments", [["nothing"], ["--rounds", "0"]])
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(SystemExit) as ended:
        scaling.main(arguments)
    assert ended.value.code == 2
