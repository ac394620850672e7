"""The settings of an experiment: what there is, what it may be, what it means.

Everything else about them is made from these models: the checks, the flags of `fastmlp train`, and
the commented file that `fastmlp train --template` prints.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

SIZE = r"^\s*\d+(\.\d+)?\s*[kKMGT]?i?B\s*$"
DURATION = r"^\s*\d+(\.\d+)?\s*(s|min|h)\s*$"

MOST_SECONDS = 1e9

FILE_NAME = r"^[^/\\]*[^/\\.][^/\\]*$"

Activation = Literal[
    "identity", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "sigmoid", "logistic",
    "hard_sigmoid", "tanh", "hard_tanh", "exp",
]  # fmt: skip
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Factor = Annotated[float, Field(gt=0, lt=1)]
Portion = Annotated[float, Field(ge=0, le=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Size = Annotated[str, StringConstraints(pattern=SIZE)]


def _checked_duration(value: str) -> str:
    if not 0 < in_seconds(value) <= MOST_SECONDS:
        raise ValueError
    return value


Duration = Annotated[str, StringConstraints(pattern=DURATION), AfterValidator(_checked_duration)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]


def in_seconds(duration: str) -> float:
    """Return how long a duration is."""
    number, unit = re.fullmatch(r"\s*([\d.]+)\s*(\w+)\s*", duration).groups()  # type: ignore[union-attr]
    return float(number) * {"s": 1, "min": 60, "h": 3600}[unit]


def _listed(value: Any) -> Any:
    """Return a number as a list of one."""
    return [value] if isinstance(value, int) and not isinstance(value, bool) else value


class Section(BaseModel):
    """A section of the file."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


class Data(Section):
    """Where the rows come from."""

    train: str | list[str] | None = Field(default=None, examples=["train.csv"])
    """The rows to train on: a file, a pattern such as "parts/*.parquet", or a list of files."""
    target: str | int | None = Field(default=None, examples=["label"])
    """The column of targets: its name, or its number, negative from the end."""
    columns: list[str | int] | None = Field(default=None, examples=[["age", "income"]])
    """The columns of features, by names or numbers; all others where left out."""
    format: str | None = Field(default=None, examples=["csv"])
    """The files' format, where their names do not tell."""
    format_options: dict[str, Any] = Field(default_factory=dict)
    """What the format's reader takes besides, such as {delimiter = ";"}."""
    test: str | list[str] | None = Field(default=None, examples=["test.csv"])
    """As train: rows to evaluate the model on in the end."""
    validation: Annotated[float, Field(gt=0, lt=1)] | str | list[str] | None = Field(
        default=None, examples=[0.1]
    )
    """What to validate on after each epoch: a share of the rows of train, held out at random, or as
    train."""
    scaling: Literal["none", "standard", "minmax"] = "none"
    """How features are scaled, as the rows of train have them: to mean 0 and variance 1, or to
    [0, 1]."""
    on_missing: Literal["error", "drop"] = "error"
    """What to do about rows in which something is missing."""
    memory_limit: Count | Size = "1 GB"
    """The most memory for buffers of data: larger files are read piece by piece."""


class Network(Section):
    """The network, and what is minimised."""

    task: Literal["auto", "classification", "regression"] = "auto"
    """auto: classification of labels, and of at most 100 different whole numbers."""
    hidden: Annotated[list[Count], BeforeValidator(_listed)] = [100]
    """The widths of the hidden layers; none for a linear model."""
    activation: Activation | list[Activation] = "relu"
    """Of all hidden layers, or one for each."""
    dropout: Probability | list[Probability] = 0.0
    """The probability of dropping a hidden unit; or one for the inputs and for each hidden
    layer."""
    dtype: Literal["float32", "float64"] = "float32"
    """The numbers that the network computes with."""
    loss: Literal[
        "auto", "log_loss", "squared_error", "absolute_error", "huber", "log_cosh", "quantile",
        "poisson",
    ] = "auto"  # fmt: skip
    """auto: log_loss for classification, squared_error for regression."""
    loss_parameter: NotNegative | None = Field(default=None, examples=[0.1])
    """Of log_loss the label smoothing, of quantile the level, of huber where it turns linear."""


class Solver(Section):
    """How it is minimised; as the parameters of fastmlp.MLPClassifier."""

    name: Literal[
        "sgd", "adam", "adagrad", "rmsprop", "amsgrad", "adamw", "rprop", "lbfgs", "gd", "cg",
        "nesterov",
    ] = "adam"  # fmt: skip
    """Batch by batch: sgd, adam, adagrad, rmsprop, amsgrad, adamw. With all rows at once: rprop,
    lbfgs, and with exact line search gd (steepest descent), cg, nesterov."""
    step: Positive = 0.001
    """The step size; with a schedule its first, or of one_cycle its largest."""
    batch_size: Literal["auto"] | Count = "auto"
    """Rows of a mini-batch; auto: 200, or all if there are fewer."""
    epochs: Count = 200
    """The most epochs; of lbfgs, gd, cg and nesterov the most iterations."""
    l2: NotNegative = 0.0001
    """Strength of the L2 penalty; of adamw the decay of the weights."""
    momentum: Portion = 0.9
    """Of sgd."""
    nesterov: bool = True
    """Whether the momentum of sgd is Nesterov's."""
    beta_1: Probability = 0.9
    """Of adam, amsgrad, adamw: how long the mean of gradients lasts."""
    beta_2: Probability = 0.999
    """Of adam, amsgrad, adamw: how long the mean of their squares lasts."""
    epsilon: Positive = 1e-8
    """Of adam, amsgrad, adamw, rmsprop: what is added to the divisor."""
    tol: NotNegative = 0.0001
    """What counts as an improvement of the loss or score; of lbfgs, gd, cg and nesterov the
    gradient to stop at."""
    shuffle: bool = True
    """Whether each epoch takes the rows in a new order."""
    class_weight: Literal["balanced"] | dict[str, Positive] | None = Field(
        default=None, examples=["balanced"]
    )
    """Weights of classes: balanced, or a table such as {cat = 1.0, dog = 2.0}."""
    early_stopping: bool = False
    """Whether to stop by the score on the validation rows, and keep the best epoch's
    parameters."""
    patience: Count = 10
    """Stop after so many epochs without an improvement: of the score, with early_stopping, else of
    the training loss."""


class Schedule(Section):
    """How the step size changes from update to update, as fastmlp.schedules has it."""

    kind: Literal[
        "none", "constant", "inverse", "inverse_power", "exponential", "step_decay", "linear",
        "cosine", "one_cycle", "reduce_on_plateau",
    ] = "none"  # fmt: skip
    """Which one."""
    power: Positive | None = Field(default=None, examples=[0.5])
    """Of inverse_power."""
    scale: Positive | None = Field(default=None, examples=[1.0])
    """Of inverse_power: updates."""
    decay: Factor | None = Field(default=None, examples=[0.9])
    """Of exponential."""
    every: Positive | None = Field(default=None, examples=[1000])
    """Of exponential and step_decay: updates."""
    factor: Factor | None = Field(default=None, examples=[0.1])
    """Of step_decay and reduce_on_plateau."""
    milestones: list[CountOrNone] | None = Field(default=None, examples=[[1000, 5000]])
    """Of step_decay: updates."""
    n_steps: Count | None = Field(default=None, examples=[10000])
    """Of linear and one_cycle: updates; all of the run where left out."""
    period: Count | None = Field(default=None, examples=[10000])
    """Of cosine: updates; all of the run where left out."""
    least: NotNegative | None = Field(default=None, examples=[0.0])
    """Of linear, cosine and reduce_on_plateau: the least step size."""
    growth: Count | None = Field(default=None, examples=[2])
    """Of cosine: by what the period grows at each restart."""
    rise: Portion | None = Field(default=None, examples=[0.3])
    """Of one_cycle: the share of updates in which it rises."""
    first: Portion | None = Field(default=None, examples=[0.04])
    """Of one_cycle: the first step size, as a share of the largest."""
    last: Portion | None = Field(default=None, examples=[4e-6])
    """Of one_cycle: the last step size, as a share of the largest."""
    anneal: Literal["cosine", "linear"] | None = Field(default=None, examples=["cosine"])
    """Of one_cycle."""
    three_phase: bool | None = Field(default=None, examples=[False])
    """Of one_cycle."""
    patience: CountOrNone | None = Field(default=None, examples=[10])
    """Of reduce_on_plateau: epochs."""
    threshold: Probability | None = Field(default=None, examples=[1e-4])
    """Of reduce_on_plateau."""
    cooldown: CountOrNone | None = Field(default=None, examples=[0])
    """Of reduce_on_plateau: epochs."""
    warm_up: CountOrNone = 0
    """Updates in which the step size rises on a line to the schedule's first."""


class Run(Section):
    """What is written, and where."""

    name: Annotated[str, StringConstraints(pattern=FILE_NAME)] | None = Field(
        default=None, examples=["first"]
    )
    """Of the run's folder, <folder>/<name>-001; that of the experiment file where left out."""
    folder: str = "runs"
    """Where the folders of runs are."""
    seed: Seed = 0
    """Of the parameters to start with, the rows held out, the order of rows, and dropout."""
    threads: Count | None = Field(default=None, examples=[2])
    """The most threads, which change no result; all where left out."""
    checkpoint_every: Count | Duration = "30 s"
    """When to write checkpoints, besides after the best epochs so far: each so many epochs
    (iterations), or a time such as "30 s", "5 min" or "1 h", within long epochs too."""
    keep: Count = 1
    """How many checkpoints to keep."""
    plots: bool = True
    """Whether to draw curves.png; needs matplotlib."""


class Range(Section):
    """Numbers from `low` to `high`, whole ones if both of these are."""

    low: Int64 | Finite
    """The least."""
    high: Int64 | Finite
    """The greatest."""
    log: bool = False
    """Whether their logarithms are spread evenly."""


class Sweep(Section):
    """Which settings `fastmlp sweep` tries; `fastmlp train` ignores it."""

    method: Literal["grid", "random"] = "grid"
    """grid: all combinations of the lists. random: n drawn ones."""
    n: Count = 20
    """How many settings random draws."""
    seeds: Count | Annotated[list[Seed], Field(min_length=1)] = 1
    """How many seeds each setting is run with, run.seed being the first, or which."""
    seed: Seed = 0
    """Of what random draws."""
    parameters: dict[str, Annotated[list[Any], Field(min_length=1)] | Range] = Field(
        default_factory=dict, examples=[{"solver.step": [0.001, 0.01]}]
    )
    """Settings by name: a list of values, or for random a range {low = 1e-4, high = 0.1, log =
    true}."""


class Settings(BaseModel):
    """All sections."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    data: Data = Data()
    network: Network = Network()
    solver: Solver = Solver()
    schedule: Schedule = Schedule()
    run: Run = Run()
    sweep: Sweep = Sweep()


SECTIONS: dict[str, type[Section]] = {
    "data": Data, "network": Network, "solver": Solver, "schedule": Schedule, "run": Run,
    "sweep": Sweep,
}  # fmt: skip
FULL_BATCH = ("lbfgs", "gd", "cg", "nesterov")
# What of a schedule each kind has, besides the step size and the warm-up.
OF_SCHEDULES: dict[str, tuple[str, ...]] = {
    "none": (), "constant": (), "inverse": (), "inverse_power": ("power", "scale"),
    "exponential": ("decay", "every"), "step_decay": ("factor", "every", "milestones"),
    "linear": ("n_steps", "least"), "cosine": ("period", "least", "growth"),
    "one_cycle": ("n_steps", "rise", "first", "last", "anneal", "three_phase"),
    "reduce_on_plateau": ("factor", "patience", "threshold", "cooldown", "least"),
}  # fmt: skip
