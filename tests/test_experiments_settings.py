"""Experiment files: what they may say, and what is said of those that say something else."""

import tomllib

import pytest

from fastmlp.estimators.constraints import CONSTRAINTS
from fastmlp.estimators.parameters import ACTIVATIONS
from fastmlp.estimators.regressor import LOSSES
from fastmlp.estimators.rules import DIRECTIONS, NAMES, STOCHASTIC
from fastmlp.experiments import describing, reading, settings
from fastmlp.experiments.reading import Override, SettingsError, assignment
from fastmlp.solvers import schedules

TRAIN = '[data]\ntrain = "train.csv"\n'


def write(tmp_path, text):
    path = tmp_path / "first.toml"
    path.write_text(text)
    return path


def problems(tmp_path, text, *overrides):
    with pytest.raises(SettingsError) as caught:
        reading.read(write(tmp_path, text), overrides)
    return caught.value.problems


# Reading -------------------------------------------------------------------------------------


def test_what_a_file_leaves_out_has_a_default(tmp_path):
    found = reading.read(write(tmp_path, TRAIN + "[solver]\nstep = 1"))
    assert found.solver.step == 1.0
    assert found.solver.name == "adam"
    assert found.network == settings.Network()


def test_a_run_is_named_after_its_file(tmp_path):
    assert reading.read(write(tmp_path, TRAIN)).run.name == "first"
    assert reading.read(write(tmp_path, TRAIN + '[run]\nname = "x"')).run.name == "x"


def test_paths_are_relative_to_the_file_and_those_of_flags_to_the_working_folder(
    tmp_path, monkeypatch
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    text = '[data]\ntrain = ["a.csv", "/b.csv"]\nvalidation = "v/*.csv"\ntest = "../t.csv"'
    data = reading.read(write(tmp_path, text), [Override("data.test", "t.csv", "--set")]).data
    assert data.train == [str(tmp_path / "a.csv"), "/b.csv"]
    assert data.validation == str(tmp_path / "v/*.csv")
    assert data.test == str(tmp_path / "here/t.csv")


def test_paths_to_try_are_relative_to_the_file(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    text = '[sweep.parameters]\n"data.train" = ["a.csv", ["b.csv", "/c.csv"]]\n"solver.l2" = [0]'
    tried = reading.read(write(tmp_path, text + "\n" + TRAIN)).sweep.parameters
    assert tried["data.train"] == [str(tmp_path / "a.csv"), [str(tmp_path / "b.csv"), "/c.csv"]]
    change = assignment('sweep.parameters={"data.validation" = [0.1, "v.csv"]}')
    tried = reading.read(write(tmp_path, TRAIN), [change]).sweep.parameters
    assert tried["data.validation"] == [0.1, str(tmp_path / "here/v.csv")]


def test_a_folder_whose_name_looks_like_a_pattern(tmp_path):
    folder = tmp_path / "[1]*"
    folder.mkdir()
    (folder / "b[2].csv").write_text("")
    text = '[data]\ntrain = ["a.csv", "b[2].csv"]\ntest = "?.npy"\nvalidation = "/?.npy"'
    data = reading.read(write(folder, text)).data
    assert data.train == [str(folder / "a.csv"), str(folder / "b[2].csv")]
    assert data.test == f"{tmp_path}/[[]1][*]/?.npy"
    assert data.validation == "/?.npy"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("solver.step", "0.01", 0.01), ("solver.epochs", "3", 3), ("run.plots", "true", True),
        ("solver.name", "adam", "adam"), ("run.name", '"3"', "3"), ("run.name", "3", "3"),
        ("network.hidden", "[1, 2]", [1, 2]), ("network.hidden", "256,128", [256, 128]),
        ("network.hidden", "7", 7), ("network.hidden", "", ""),
        ("network.activation", "tanh, relu", ["tanh", "relu"]),
        ("network.dropout", "0.1,0.2", [0.1, 0.2]), ("solver.batch_size", "auto", "auto"),
        ("data.columns", "a", ["a"]), ("data.columns", "a,7,2020-01-01", ["a", 7, "2020-01-01"]),
        ("data.columns", "3", [3]), ("data.columns", '"a,b",c', ["a,b", "c"]),
        ("data.target", "-1", -1), ("data.target", "nan", "nan"), ("data.target", "true", "true"),
        ("data.target", "2020-01-01", "2020-01-01"), ("data.target", "1\nx2 = 2", "1\nx2 = 2"),
        ("data.train", "a,b.csv", "a,b.csv"), ("data.train", '"a", "b"', ["a", "b"]),
        ("data.train", "", ""), ("data.validation", "0.1", 0.1), ("data.validation", "v", "v"),
        ("solver.class_weight", "{x = 1}", {"x": 1}), ("solver.step", "big", "big"),
        ("solver.stepp", "3", 3), ("data.format_options.header", "false", False),
    ],
)  # fmt: skip
def test_values_of_flags(name, text, value):
    found = reading.parsed(name, text)
    assert found == value
    assert type(found) is type(value)


def test_later_overrides_win(tmp_path):
    path = write(tmp_path, TRAIN + "[solver]\nstep = 1\nepochs = 3")
    changes = [assignment("solver.step=0.5"), Override("solver.step", 0.25, "--solver.step")]
    found = reading.read(path, changes).solver
    assert (found.step, found.epochs) == (0.25, 3)


def test_without_a_file():
    found = reading.read(None, [assignment("data.train=x.csv")])
    assert found.data.train is not None
    assert found.run.name is None


def test_options_of_formats(tmp_path):
    path = write(tmp_path, TRAIN + '[data.format_options]\ndelimiter = ";"')
    found = reading.read(path, [assignment("data.format_options.header=false")])
    assert found.data.format_options == {"delimiter": ";", "header": False}


# What is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[solver]\nstepp = 1", "solver.stepp is not a setting; did you mean solver.step?"),
        ("[solver]\nhidden = [3]", "solver.hidden is not a setting; did you mean network.hidden?"),
        ("[solvr]\nstep = 1", "solvr is not a section; did you mean solver?"),
        ("[solver]\nstep = -1", "solver.step must be a number above 0; got -1"),
        ("[solver]\nstep = nan", "solver.step must be a number above 0; got NaN"),
        ('[solver]\nstep = "1"', 'solver.step must be a number above 0; got "1"'),
        ("[solver]\nepochs = true", "solver.epochs must be a whole number at least 1; got true"),
        ("[solver]\nepochs = 2.0", "solver.epochs must be a whole number at least 1; got 2.0"),
        (
            '[solver]\nbatch_size = "all"',
            'solver.batch_size must be "auto" or a whole number at least 1; got "all"',
        ),
        (
            "[network]\nhidden = [3, 0]",
            "network.hidden must be a list of whole numbers at least 1; got [3, 0]",
        ),
        (
            '[run]\ncheckpoint_every = "5 days"',
            'run.checkpoint_every must be a whole number at least 1 or a time such as "30 s" or '
            '"5 min"; got "5 days"',
        ),
        *(
            (
                f'[run]\ncheckpoint_every = "{time}"',
                'run.checkpoint_every must be a whole number at least 1 or a time such as "30 s" '
                f'or "5 min"; got "{time}"',
            )
            for time in ("0 s", "0.00 h", "99999999999 h")
        ),
        ('[run]\nname = "a/b"', 'run.name must be a text fit for the name of a file; got "a/b"'),
        ('[run]\nname = ".."', 'run.name must be a text fit for the name of a file; got ".."'),
        (
            "[run]\nseed = 4294967296",
            "run.seed must be a whole number at least 0 and at most 4294967295; got 4294967296",
        ),
        (
            '[network]\nhidden = [3, 4]\nactivation = ["relu"]',
            "network.activation must be one, or a list of 2 for 2 hidden layers; got 1",
        ),
        (
            '[schedule]\nkind = "linear"\npower = 2',
            "schedule.power is not for schedule.kind = linear",
        ),
        (
            '[schedule]\nkind = "exponential"',
            "schedule.decay is missing, which schedule.kind = exponential needs",
        ),
        (
            "[solver]\nearly_stopping = true",
            "solver.early_stopping needs data.validation; got none",
        ),
        (
            '[solver]\nname = "lbfgs"\n[schedule]\nkind = "linear"',
            "schedule.kind must be none for solver.name = lbfgs",
        ),
        (
            '[sweep.parameters]\n"solver.stp" = [1]',
            "sweep.parameters 'solver.stp' is not a setting; did you mean solver.step?",
        ),
        (
            '[sweep]\nmethod = "random"\nparameters = {"solver.step" = {low = 1, high = inf}}',
            'sweep.parameters must be a table; got {"solver.step": {"low": 1, "high": Infinity}}',
        ),
        (
            '[sweep.parameters]\n"solver.step" = {low = 1, high = 2}',
            "sweep.parameters 'solver.step': a range is for sweep.method = \"random\"",
        ),
    ],
)
def test_what_is_wrong_is_told_with_the_file_and_what_is_right(tmp_path, text, told):
    assert problems(tmp_path, TRAIN + text) == [f"{tmp_path / 'first.toml'}: {told}"]


def test_a_setting_outside_of_sections(tmp_path):
    (told,) = problems(tmp_path, "step = 1\n" + TRAIN)
    assert told.endswith("step is not a section; did you mean solver.step?")


def test_everything_wrong_is_told_at_once_and_once(tmp_path):
    told = problems(tmp_path, "[solver]\nstep = -1\ndropout = true\n[network]\nhidden = [0, 0]")
    assert len(told) == 3


def test_overrides_are_named(tmp_path):
    change = Override("solver.step", "big", "--solver.step")
    assert problems(tmp_path, TRAIN, change) == [
        '--solver.step: solver.step must be a number above 0; got "big"'
    ]


@pytest.mark.parametrize("text", ["", '[data]\ntrain = ""', "[data]\ntrain = []"])
def test_rows_to_train_on_are_needed(tmp_path, text):
    (told,) = problems(tmp_path, text)
    assert told.endswith("data.train is missing: which file, or files, to train on")


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"[data", "no valid TOML"), (b"\xff", "no text in UTF-8"), (None, "no such file")],
)
def test_files_that_cannot_be_read(tmp_path, content, told):
    path = tmp_path / "x.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=f"x.toml: {told}"):
        reading.read(path)


@pytest.mark.parametrize("text", ["solver.step", "=3"])
def test_assignments_need_a_name_and_a_value(text):
    with pytest.raises(SettingsError, match="--set: expected name=value"):
        assignment(text)


# Descriptions --------------------------------------------------------------------------------


def test_every_setting_has_a_meaning():
    for setting in describing.settings():
        assert setting.meaning.endswith("."), setting.name
        assert setting.expected
        assert setting.default is not None or setting.example is not None, setting.name


def test_the_template_is_the_defaults(tmp_path):
    found = reading.read(write(tmp_path, describing.template()))
    default = reading.read(None, [Override("data.train", str(tmp_path / "train.csv"), "x")])
    assert found.model_copy(update={"run": default.run}) == default


def test_the_template_names_every_setting_and_its_examples_are_valid():
    tree = tomllib.loads(
        "\n".join(line.removeprefix("# ") if " = " in line else line for line in
                  describing.template().splitlines() if not line.startswith("# ") or (" = " in line
                  and line.split(" = ")[0].removeprefix("# ").isidentifier()))
    )  # fmt: skip
    assert [f"{s}.{name}" for s in tree for name in tree[s]] == reading.names()
    settings.Settings.model_validate(tree)


# The library's own names ---------------------------------------------------------------------


def choices(section, name):
    annotation = settings.SECTIONS[section].model_fields[name].annotation
    return {*getattr(annotation, "__args__", ())}


def test_names_are_the_estimators():
    assert choices("solver", "name") == NAMES
    assert {*settings.FULL_BATCH} == NAMES - {*STOCHASTIC} == {*DIRECTIONS, "lbfgs"}
    assert {*settings.Activation.__args__} == ACTIVATIONS
    assert choices("network", "loss") == {"auto", "log_loss", *LOSSES}
    assert {*settings.OF_SCHEDULES} == choices("schedule", "kind")
    for kind in {*settings.OF_SCHEDULES} - {"none"}:
        assert callable(getattr(schedules, kind))
    assert "learning_rate_init" in CONSTRAINTS
