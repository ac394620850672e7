"""What is told, and kept, where checkpoints are not used as they should be."""

import os

import numpy as np
import pytest

import fastmlp as fm
from cases import problem, same_bits
from cases_checkpoints import names, train
from fastmlp import files

NET = fm.Network([3, 5, 3], output="softmax")
DATA = NET, *problem(NET, 23, np.random.default_rng(5))


def run(path, epochs=2, **options):
    return train("minibatch_sgd", DATA, checkpoint=path, epochs=epochs, **options)


def test_what_an_earlier_run_has_left_is_kept(tmp_path):
    """Where resume was forgotten; once, and not what the run itself has written."""
    path = tmp_path / "run"
    first = run(path, epochs=4)
    run(path, rng=7)
    assert names(tmp_path) == ["run", "run.old"]
    assert same_bits(fm.load(tmp_path / "run.old")[1], first.x)
    run(path, rng=7, epochs=3, resume=True)
    assert same_bits(fm.load(tmp_path / "run.old")[1], first.x)


def test_the_newest_is_missing(tmp_path):
    kept = fm.Checkpoints(tmp_path / "run", keep=2)
    run(kept)
    (tmp_path / "run").unlink()
    with pytest.raises(FileNotFoundError, match=r"run is missing, but .*run\.1 is there: resume"):
        run(kept, resume=True)
    assert run(kept, resume=tmp_path / "run.1").n_epochs == 2


def test_the_newest_is_damaged(tmp_path):
    kept = fm.Checkpoints(tmp_path / "run", keep=2)
    run(kept)
    (tmp_path / "run").write_bytes(b"damaged")
    with pytest.raises(fm.FormatError, match=r"; the one before it is .*run\.1, which resume="):
        run(kept, resume=True)
    (tmp_path / "run.1").unlink()
    with pytest.raises(fm.FormatError) as caught:
        run(kept, resume=True)
    assert "the one before" not in str(caught.value)


def test_another_version(tmp_path):
    """Told, as its bits may be others; settings that only one version knows are not compared."""
    path = tmp_path / "run"
    expected = run(path, epochs=3)
    run(path, rng=0)
    kind, tree = files.read(path)
    tree["version"] = "0.0.7"
    tree["about"]["of old"] = "1"
    del tree["about"]["l1"]
    files.write(path, kind, tree)
    with pytest.warns(RuntimeWarning, match=r"written by fastmlp 0\.0\.7, and this is "):
        result = run(path, epochs=3, resume=True)
    assert same_bits(result.x, expected.x)
    with pytest.raises(ValueError, match="batch_size is 5 here, 4 there"):
        run(path, epochs=3, resume=True, batch_size=5)


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(PermissionError, match=r"^checkpoint must be in a folder that can be writt"):
        run(tmp_path / "run")


def test_an_interval_of_no_known_kind():
    for bad in ("1h", 0.5, [3]):
        with pytest.raises(TypeError, match=r"^every must be an integer, a datetime\.timedelta or"):
            fm.Checkpoints("run", every=bad)


def test_a_callback_whose_state_becomes_unwritable(tmp_path):
    class Growing:
        def on_start(self, state):
            self.known = None

        def on_epoch_end(self, state):
            self.known = {state.n_epochs} if state.n_epochs == 2 else None

        def state_dict(self):
            return {"known": self.known}

        def load_state_dict(self, state):
            self.known = state["known"]

    with pytest.warns(RuntimeWarning, match=r"not written, .*callbacks\.0\.state\.known is of a"):
        result = run(tmp_path / "run", epochs=3, callback=Growing())
    assert result.status == 0
    assert same_bits(fm.load(tmp_path / "run")[1], result.x)


def test_a_network_and_its_parameters_are_one_argument(tmp_path):
    net, w, *_ = DATA
    with pytest.raises(TypeError, match=r"^optimizer must be True or False.* as one argument\)$"):
        fm.save(tmp_path / "net", net, w)
    with pytest.raises(TypeError, match=r"^path must be a str or os\.PathLike; got b'x+\.\.\.x+'$"):
        fm.load(b"x" * 10**6)
    assert names(tmp_path) == []


@pytest.mark.parametrize("solver", ["gd", "lbfgs"])
def test_when_full_batch_fits_end_may_change(solver, tmp_path):
    X, y = DATA[2], DATA[3].argmax(axis=1) if DATA[3].ndim == 2 else DATA[3]
    path = tmp_path / "fit"

    def fit(tol, **options):
        model = fm.MLPClassifier((5,), solver=solver, tol=tol, max_iter=2000, random_state=0)
        return model.fit(X, y, **options)

    early = fit(0.1, checkpoint=path)
    expected = fit(0.01)
    found = fit(0.01, checkpoint=path, resume=True)
    assert early.n_iter_ < found.n_iter_
    assert same_bits(found.parameters_, expected.parameters_)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_other_columns(tmp_path):
    pd = pytest.importorskip("pandas")
    X, y = pd.DataFrame(DATA[2], columns=["a", "b", "c"]), np.arange(23) % 3
    options = {"checkpoint": tmp_path / "fit", "resume": True}
    model = fm.MLPClassifier((5,), max_iter=2, n_iter_no_change=1, tol=9, random_state=0)
    model.fit(X, y, **options)
    with pytest.raises(
        ValueError, match=r"columns of X is \['a', 'b', 'd'\] here, \['a', 'b', 'c'"
    ):
        model.fit(X.rename(columns={"c": "d"}), y, **options)
