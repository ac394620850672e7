"""The comparison with peers: what it computes, marks and writes, and a run on the tiny work.

The contenders of most tests are made up; only the last ones train.
"""

import csv
import io
import math
import re
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest

import fastmlp as fm
from bench import compare, equal_work, inference, reports, to_accuracy, training
from bench.chart import draw, relative
from bench.contenders import BF16, CONTENDERS, EAGER, JAX, OURS, missing
from bench.groups import GROUPS, chosen
from bench.outcomes import DIFFERS, FIRST, NOT_REACHED, SLOWER, Outcome, compared, details, overview
from bench.tables import aligned, duration, markdown, short
from bench.workers import Worker, known, measure_in_rounds
from bench.works import WORKS, Work, n_cores

ENVIRONMENT = {"CPU": "an abacus", "cores": "2"}
LAYERS = [(np.array([[1.0, -1.0]]), np.zeros(2)), (np.eye(2), np.array([0.0, 1.0]))]


def outcome(**changes):
    """Return a work where JAX is twice as fast as ours in one of three rounds."""
    made = Outcome(
        "sgd", "mnist", "mnist: 784-10, batch 128", "samples/s",
        {
            OURS: [100.0, 120.0, 110.0], "scikit-learn": [50.0, 40.0, 55.0],
            JAX: [80.0, 240.0, 100.0],
        },
        {EAGER: "torch is not installed"}, flops=1e9, peaks=[1e11, 3e11, 2e11],
        check="loss", checks={OURS: 0.5, "scikit-learn": 0.7, JAX: 0.5},
        differ=frozenset({"scikit-learn"}),
    )  # fmt: skip
    return replace(made, **changes)


def seconds(**values):
    return outcome(unit="s", values=values, flops=None, peaks=[], check="", checks={})


# Ratios and marks.


def test_ratios_are_of_the_same_round():
    assert outcome().ratios(JAX) == [100 / 80, 120 / 240, 110 / 100]
    assert compared(outcome().ratios(JAX)) == "1.10 (0.50 .. 1.25)"


def test_times_are_compared_as_speeds():
    its = seconds(fastmlp=[1.0, 2.0, 4.0], JAX=[3.0, 3.0, 3.0])
    assert its.ratios("JAX") == [3.0, 1.5, 0.75]


def test_best_peer_is_the_fastest_by_medians_in_float32():
    assert outcome().best_peer() == JAX
    values = {**outcome().values, BF16: [9e9] * 3}
    assert outcome(values=values).best_peer() == JAX


def test_a_peer_that_wins_is_marked():
    its = outcome(values={OURS: [1.0, 1.0], JAX: [2.0, 4.0]})
    assert compared(its.ratios(JAX)) == f"0.38 (0.25 .. 0.50), {SLOWER}"
    assert SLOWER in overview([its])[1][-1]
    assert SLOWER in details(its)[2][-2]


def test_another_form_of_ours_is_no_peer():
    its = outcome(values={f"{OURS}, file": [1.0], f"{OURS}, memory": [2.0], JAX: [0.5]})
    assert its.best_peer() == JAX
    assert details(its)[2][-2] == "0.50 (0.50 .. 0.50)"


def test_lower_precision_has_a_column_of_its_own():
    values = {OURS: [2.0], JAX: [1.0], BF16: [4.0]}
    heading, row = overview([outcome(values=values)])
    assert heading[-2:] == ["ours / best peer", f"ours / {BF16}"]
    assert row[-2:] == ["2.00 (JAX)", f"0.50, {SLOWER}"]


def test_what_never_ends_is_said_so():
    never = math.inf
    its = seconds(fastmlp=[1.0, 1.0], JAX=[never, never], torch=[2.0, never])
    rows = {row[0]: row for row in details(its)}
    assert rows["JAX"][1:4] == [NOT_REACHED] * 3
    assert rows["JAX"][4] == "it never ended"
    assert its.best_peer() is None  # torch's median is between 2 and never


def test_neither_ends():
    its = seconds(fastmlp=[math.inf], JAX=[math.inf])
    assert its.ratios("JAX") == []
    assert details(its)[2][-1] == ""


def test_no_peer_and_none_of_ours():
    assert "no peer" in reports.notes(outcome(values={OURS: [1.0]}))[0]
    assert "no peer" in reports.notes(outcome(values={JAX: [1.0]}))[0]


def test_share_of_the_peak():
    assert outcome().gigaflops(OURS) == 110
    assert outcome().share(OURS) == pytest.approx(1.1e11 / (2e11 * n_cores()))


def test_details():
    heading, *rows = details(outcome())
    assert heading == [
        "", "samples/s", "lowest", "highest", "GFLOP/s", "of peak", f"{OURS} / it", "loss"
    ]  # fmt: skip
    assert [row[0] for row in rows] == [OURS, "scikit-learn", JAX]
    assert rows[0][:5] == [OURS, "110", "100", "120", "110"]
    assert rows[1][-1] == f"0.7, {DIFFERS}"
    assert rows[2][-1] == "0.5"


@pytest.mark.parametrize(
    ("number", "text"), [(6_612_000, "6.61 M"), (192_400, "192 k"), (870.2, "870")]
)
def test_short(number, text):
    assert short(number) == text


@pytest.mark.parametrize(
    ("number", "text"), [(13.24, "13.2 s"), (0.0804, "80.4 ms"), (4.4e-5, "44 us")]
)
def test_duration(number, text):
    assert duration(number) == text


# Equal work.


def test_mean_loss_is_the_networks():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 5)), rng.integers(3, size=50)
    for hidden in ("relu", "tanh"):
        net = fm.Network([5, 7, 4, 3], hidden=hidden, output="softmax", dtype="float64")
        w = net.init(rng=1)
        layers = list(zip(net.weights(w), net.biases(w), strict=True))
        assert equal_work.mean_loss(layers, X, y, hidden) == pytest.approx(net.loss(w, X, y))


def test_mean_loss_of_large_outputs_is_finite():
    loss = equal_work.mean_loss(LAYERS, np.array([[1e4]]), np.array([1]), "relu")
    assert loss == pytest.approx(1e4 - 1)


def test_differing():
    losses = {OURS: 0.50, "scikit-learn": 0.50, EAGER: 0.52, JAX: 0.53}  # the median is 0.51
    allowed = equal_work.TOLERANCES["sgd"] * (1 - 0.51)
    assert allowed == pytest.approx(0.0245)
    assert equal_work.differing(losses, start=1.0) == frozenset()
    assert equal_work.differing({**losses, JAX: 0.55}, start=1.0) == {JAX}
    assert equal_work.differing({**losses, OURS: 0.40}, start=1.0) == {OURS}


def test_who_has_done_nothing_differs():
    losses = {OURS: 2.300, "scikit-learn": 2.300, JAX: 2.302}
    assert equal_work.differing(losses, start=2.302) == {JAX}


def test_lower_precision_is_allowed_more_and_judges_nobody():
    losses = {OURS: 0.5, JAX: 0.5, BF16: 0.55}
    assert equal_work.differing(losses, start=1.0) == frozenset()
    assert equal_work.differing({**losses, BF16: 0.59}, start=1.0) == {BF16}


def test_adam_is_allowed_more():
    losses = {OURS: 0.5, JAX: 0.5, EAGER: 0.59}
    assert equal_work.differing(losses, start=1.0, rule="adam") == frozenset()
    assert equal_work.differing({**losses, EAGER: 0.61}, start=1.0, rule="adam") == {EAGER}


def test_of_no_losses_none_differs():
    assert equal_work.differing({}, start=1.0) == frozenset()


def test_nan_judges_nobody():
    losses = {OURS: math.nan, JAX: math.nan, EAGER: 0.5}
    assert equal_work.differing(losses, start=1.0) == {OURS, JAX}


def test_nan_differs():
    assert equal_work.differing({OURS: 0.5, JAX: 0.5, EAGER: math.nan}, start=1.0) == {EAGER}


def test_first_runs_are_compared_with_first_runs():
    cold = {f"{OURS}{FIRST}": [10.0, 12.0, 11.0], f"{JAX}{FIRST}": [5.0, 6.0, 22.0]}
    its = seconds(**{OURS: [1.0] * 3, JAX: [2.0] * 3, "scikit-learn": [8.0] * 3, **cold})
    assert its.ratios(JAX) == [2.0] * 3
    assert its.ratios(f"{JAX}{FIRST}") == [0.5, 0.5, 2.0]
    told = reports.notes(its)
    assert told[0].startswith(f"{OURS} / best peer ({JAX}): 2.00")
    assert told[1] == f"{OURS}{FIRST} / best peer ({JAX}{FIRST}): 0.50 (0.50 .. 2.00), slower"
    its.values["scikit-learn"] = [2.0] * 3  # it has no other run
    assert f"{OURS}{FIRST} / best peer (scikit-learn): 0.18" in reports.notes(its)[1]


# Files.


def test_raw_has_a_line_for_each_contender_work_and_round():
    its = outcome()
    lines = list(csv.DictReader(io.StringIO(reports.raw([its, replace(its, work="large")]))))
    assert len(lines) == 2 * (3 * 3 + 3)
    found = [line for line in lines if line["contender"] == "scikit-learn"]
    assert [float(line["value"]) for line in found if line["work"] == "mnist"] == [50, 40, 55]
    assert [line["round"] for line in found] == ["1", "2", "3"] * 2
    assert {line[DIFFERS] for line in found} == {"1"}
    assert [line["unit"] for line in lines if line["contender"] == reports.PEAK] == ["flop/s"] * 6


def test_markdown_tables_have_equal_rows():
    text = reports.document([outcome(), outcome(title="another")], ENVIRONMENT, ["How."])
    assert "an abacus" in text
    assert f"- {EAGER} left out: torch is not installed" in text
    assert text.index("# sgd: ") < text.index("How.") < text.index("## another")
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_tables_are_aligned():
    table = [["", "a"], ["long", "b"]]
    assert aligned(table) == "      a\nlong  b"
    assert markdown(table) == "|  | a |\n|---|---|\n| long | b |"


def test_chart_is_written(tmp_path):
    path = tmp_path / "chart.png"
    slow = seconds(**{"fastmlp": [1.0], "fastmlp, first run": [3.0], "torch DataLoader": [2.0]})
    works = [outcome(), outcome(work="large"), replace(slow, group="mnist", work="98")]
    draw(works, ENVIRONMENT, path)
    picture = matplotlib.image.imread(path)
    height, width, channels = picture.shape
    assert width >= 1600  # README's, on a fine screen
    assert channels == 4
    assert picture[0, 0, 3] == 0  # no background
    draw(works[:1], ENVIRONMENT, path)
    assert matplotlib.image.imread(path).shape[0] < height


def test_chart_has_no_bars_without_an_end():
    its = seconds(fastmlp=[math.inf], JAX=[1.0], torch=[2.0])
    assert relative(its) == {"JAX": 1.0, "torch": 0.5}


def test_no_chart_without_peers(tmp_path):
    draw([outcome(values={OURS: [1.0]})], ENVIRONMENT, tmp_path / "chart.png")
    assert not list(tmp_path.iterdir())


# What is asked for.


def test_all_works_by_default():
    assert chosen([]) == {name: list(group.works) for name, group in GROUPS.items()}


def test_groups_and_works():
    assert chosen(["adam", "sgd/mnist"]) == {"sgd": ["mnist"], "adam": ["small", "mnist", "large"]}
    assert chosen(["wide"]) == {"sgd": ["wide"], "tanh": ["wide"]}
    assert chosen(["mnist"]) == {"mnist": ["97.5", "98", "98.5"]}  # the group, not the work


@pytest.mark.parametrize("text", ["huge", "sgd/huge", "adam/wide"])
def test_unknown_works(text):
    with pytest.raises(ValueError, match=f"no group or work is called {text!r}"):
        chosen([text])


@pytest.mark.parametrize("arguments", [["nonsense"], ["sgd", "--rounds", "0"], ["--epochs", "0"]])
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        compare.main(arguments)
    assert error.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_peers_that_are_missing_are_said_so(monkeypatch, capsys):
    absent = CONTENDERS["JAX"]._replace(module="no_such_module")
    monkeypatch.setitem(CONTENDERS, "JAX", absent)
    assert compare.main(["mnist/98", "--contenders", "JAX", "fastmlp"]) == 0
    assert "JAX left out: jax is not installed" in capsys.readouterr().out


def test_what_needs_data_says_so(monkeypatch, capsys):
    monkeypatch.delenv("FASTMLP_MNIST", raising=False)
    assert compare.main(["mnist"]) == 0
    assert "needs --data" in capsys.readouterr().err


def test_times_to_accuracy():
    lines = [(1.0, 0.9), (2.0, 0.981), (3.0, 0.98), (4.0, 0.9849)]
    found = to_accuracy.times_of(lines)
    assert found == {"97.5": 2.0, "98": 2.0, "98.5": math.inf}


def test_steps_fall_by_half_a_cosine():
    steps = [to_accuracy.step_of(epoch) for epoch in range(to_accuracy.EPOCHS)]
    assert steps[0] == to_accuracy.STEP
    assert to_accuracy.step_of(to_accuracy.EPOCHS / 2) == pytest.approx(steps[0] / 2)
    assert (np.diff(steps) < 0).all()
    assert steps[-1] > 0


def test_chunks_change_nothing():
    X = np.arange(35.0).reshape(7, 5)
    sizes = []

    def double(rows):
        sizes.append(len(rows))
        return 2 * rows

    np.testing.assert_array_equal(inference.chunked(double, 3)(X), 2 * X)
    assert sizes == [3, 3, 1]


# Contenders train.

TRAINED = Work("tiny", (6, 16, 3), 10, 300)


def in_plain_numpy(work, n_steps):
    """Return layers after steps of SGD on all samples."""
    X, y = work.data()
    W1, b1, W2, b2 = (part.astype(float) for layer in work.start() for part in layer)
    for _ in range(n_steps):
        A = X @ W1 + b1
        A = np.tanh(A) if work.hidden == "tanh" else np.maximum(A, 0)
        P = np.exp(A @ W2 + b2)
        D = (P / P.sum(axis=1, keepdims=True) - np.eye(work.widths[-1])[y]) / len(X)
        E = D @ W2.T * (1 - A**2 if work.hidden == "tanh" else A > 0)
        W2, b2 = W2 - 1e-3 * A.T @ D, b2 - 1e-3 * D.sum(axis=0)
        W1, b1 = W1 - 1e-3 * X.T @ E, b1 - 1e-3 * E.sum(axis=0)
    return [(W1, b1), (W2, b2)]


@pytest.mark.parametrize("hidden", ["relu", "tanh"])
@pytest.mark.parametrize("name", [OURS, "scikit-learn", EAGER, JAX])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Stochastic Optimizer")
def test_contenders_do_the_same(name, hidden, monkeypatch):
    """With one batch of all samples, orders do not matter, and every step is the same."""
    monkeypatch.setattr(training, "n_cores", lambda: 1)  # PyTorch's threads spin
    if reason := missing(name):
        pytest.skip(reason)
    work = replace(TRAINED, hidden=hidden, batch_size=TRAINED.n_samples)
    train = CONTENDERS[name].make(work)
    train.restart()
    assert train(50) == 50 * work.n_samples
    for found, expected in zip(train.layers(), in_plain_numpy(work, 50), strict=True):
        for part, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(part, other, rtol=1e-4, atol=1e-6)


def test_scikit_learn_with_two_classes_starts_from_the_same_function():
    work = Work("two", (6, 16, 2), 10, 300)
    train = CONTENDERS["scikit-learn"].make(work)
    X, y = work.data()
    expected = equal_work.mean_loss(work.start(), X, y, "relu")
    assert equal_work.mean_loss(train.layers(), X, y, "relu") == pytest.approx(expected)


def failing(number):
    raise ValueError(f"no {number}")


def constant(number):
    return lambda: number


def test_workers_that_fail_are_left_out():
    workers = [Worker("good", constant, (3,)), Worker("bad", failing, (4,))]
    measure_in_rounds(workers, 2)
    assert known(workers) == ({"good": [3, 3]}, {"bad": "ValueError: no 4"})


def test_command(tmp_path, capsys):
    arguments = ["--rounds", "1", "sgd/tiny", "--epochs", "1", "--output", str(tmp_path)]
    assert compare.main(["--contenders", OURS, "scikit-learn", *arguments]) == 0
    shown = capsys.readouterr().out
    assert str(WORKS["tiny"]) in shown
    assert f"{OURS} / best peer (scikit-learn)" in shown
    assert DIFFERS not in shown
    assert {path.name for path in tmp_path.iterdir()} == {"sgd.md", "sgd.csv", "sgd.png"}
    assert (
        "`python -m bench.compare sgd --rounds 1 --epochs 1`" in (tmp_path / "sgd.md").read_text()
    )
    with (tmp_path / "sgd.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["contender"] for line in lines] == [OURS, "scikit-learn", reports.PEAK]
    losses = [float(line["checked"]) for line in lines[:2]]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)
    assert losses[0] < 0.75  # from 0.80
