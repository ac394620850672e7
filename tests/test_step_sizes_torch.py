"""Step sizes against the learning rates of torch.optim.lr_scheduler, step by step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import fastmlp as fm

S = fm.schedules
C = 0.3


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def rates(torch, make, n, observed=None):
    """Learning rates of n steps; each may be told the loss that came of it."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=C)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    listed = [optimizer.param_groups[0]["lr"]]
    for k in range(n - 1):
        optimizer.step()
        scheduler.step(*() if observed is None else (observed[k],))
        listed.append(optimizer.param_groups[0]["lr"])
    return listed


def cosine_restarts(period, growth=1, least=0.0):
    return lambda lr, optimizer: lr.CosineAnnealingWarmRestarts(optimizer, period, growth, least)


def cycle(n, rise=0.3, first=25.0, last=1e4, anneal="cos", three_phase=False):
    return lambda lr, optimizer: lr.OneCycleLR(
        optimizer, C, total_steps=n, pct_start=rise, div_factor=first, final_div_factor=last,
        anneal_strategy=anneal, three_phase=three_phase, cycle_momentum=False,
    )  # fmt: skip


def after_warm_up(n, first, make):
    def both(lr, optimizer):
        warm = lr.LinearLR(optimizer, start_factor=first, total_iters=n)
        return lr.SequentialLR(optimizer, [warm, make(lr, optimizer)], milestones=[n])

    return both


EQUAL = {
    "exponential": (S.exponential(C, 0.97), lambda lr, o: lr.ExponentialLR(o, 0.97)),
    "every": (S.step_decay(C, 0.7, every=30), lambda lr, o: lr.StepLR(o, 30, 0.7)),
    "milestones": (
        S.step_decay(C, milestones=[20, 20, 90, 210]),
        lambda lr, o: lr.MultiStepLR(o, [20, 90, 20, 210], 0.1),
    ),
    "linear": (S.linear(C, 300), lambda lr, o: lr.LinearLR(o, 1.0, 0.0, 300)),
    "least": (S.linear(C, 250, 0.1), lambda lr, o: lr.LinearLR(o, 1.0, 1 / 3, 250)),
    "cosine": (S.cosine(C, 70), cosine_restarts(70)),
    "cosine to the end": (S.cosine(C, 1000, 0.01), cosine_restarts(1000, 1, 0.01)),
    "growing": (S.cosine(C, 10, 0.02, 2), cosine_restarts(10, 2, 0.02)),
    "growing fast": (S.cosine(C, 1, growth=5), cosine_restarts(1, 5)),
    "one cycle": (S.one_cycle(C, 400), cycle(400)),
    "lines": (S.one_cycle(C, 400, anneal="linear"), cycle(400, anneal="linear")),
    "fractions": (
        S.one_cycle(C, 401, 0.123, 0.1, 0.001), cycle(401, rise=0.123, first=10, last=100)
    ),
    "down only": (S.one_cycle(C, 400, 0.0), cycle(400, rise=0.0)),
    "up only": (S.one_cycle(C, 400, 1.0), cycle(400, rise=1.0)),
    "three": (S.one_cycle(C, 400, three_phase=True), cycle(400, three_phase=True)),
    "three lines": (
        S.one_cycle(C, 400, 0.45, anneal="linear", three_phase=True),
        cycle(400, 0.45, anneal="linear", three_phase=True),
    ),
    "no third": (
        S.one_cycle(C, 400, 0.6, three_phase=True), cycle(400, 0.6, three_phase=True)
    ),
    "warm-up": (
        S.warm_up(S.cosine(C, 30, growth=2), 50, first=0.1),
        after_warm_up(50, 0.1, cosine_restarts(30, 2)),
    ),
    "warm-up of steps": (
        S.warm_up(S.step_decay(C, 0.5, every=40), 25, first=0.5),
        after_warm_up(25, 0.5, lambda lr, o: lr.StepLR(o, 40, 0.5)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EQUAL)
def test_learning_rates(name, torch, recwarn):
    schedule, make = EQUAL[name]
    expected = rates(torch, make, 400)
    recwarn.clear()  # SequentialLR warns of itself
    assert_allclose(schedule(np.arange(400)), expected, rtol=1e-11, atol=1e-15)


# On a plateau --------------------------------------------------------------------------------

LOSSES = st.lists(
    st.one_of(
        st.floats(-1, 4),
        st.sampled_from([1.0, 1 - 1e-4, 1 - 1e-4 - 1e-9, 0.9, 0.5, float("nan"), float("inf")]),
    ),
    min_size=1,
    max_size=60,
)
SETTINGS = st.fixed_dictionaries(
    {
        "factor": st.sampled_from([0.1, 0.5, 0.9]),
        "patience": st.integers(0, 4),
        "threshold": st.sampled_from([0, 1e-4, 0.1]),
        "cooldown": st.integers(0, 3),
        "least": st.sampled_from([0.0, 0.01, 0.3]),
    }
)


def told(schedule, losses):
    """Step sizes of epochs of one update each."""
    steps = fm.schedules.resolve(schedule)
    listed = []
    for k, loss in enumerate(losses):
        listed.append(steps.steps(k, k + 1)[0])
        steps.observe(loss)
    return listed


@given(LOSSES, SETTINGS)
def test_reduce_on_plateau(losses, settings):
    torch = pytest.importorskip("torch")
    expected = rates(
        torch,
        lambda lr, optimizer: lr.ReduceLROnPlateau(
            optimizer, "min", settings["factor"], settings["patience"], settings["threshold"],
            cooldown=settings["cooldown"], min_lr=settings["least"], eps=0,
        ),
        len(losses),
        losses,
    )  # fmt: skip
    assert told(S.reduce_on_plateau(C, **settings), losses) == expected
