"""Files of networks: what is loaded is what was saved, bit for bit; and what save refuses."""

import os
import stat
import warnings
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import fastmlp as fm
from cases import COMBINATIONS, DTYPES
from cases_estimators import TARGETS, X, classifier, regressor, same_bits

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _round_trip(tmp_path, model, **how):
    fm.save(tmp_path / "model.safetensors", model)
    return fm.load(tmp_path / "model.safetensors", **how)


def _network(**how):
    net = fm.Network([3, 4, 2], **how)
    return net, net.init(rng=1)


def _value(prediction, target):
    return (prediction - target) ** 4


def _derivative(prediction, target):
    return 4 * (prediction - target) ** 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_networks_of_every_pair_come_back(tmp_path, dtype):
    for hidden, output, loss in COMBINATIONS:
        net, w = _network(hidden=hidden, output=output, loss=loss, dtype=dtype)
        again, parameters = _round_trip(tmp_path, (net, w))
        assert (again, repr(again)) == (net, repr(net))
        assert same_bits(parameters, w)


@pytest.mark.parametrize(
    "net",
    [
        fm.Network([1, 1]),
        fm.Network([1, 1], bias=False),
        fm.Network([3, 2, 5, 4], hidden=["tanh", "step"], bias=False, dtype="float64"),
        fm.Network([3, 2, 2], hidden="sign"),
        fm.Network([3, 2], loss=fm.losses.huber(0.1 + 0.2)),
        fm.Network([3, 2], loss=fm.losses.quantile(1 / 3)),
    ],
    ids=repr,
)
def test_what_a_network_is_made_of_comes_back(tmp_path, net):
    w = net.init(rng=0)
    again, parameters = _round_trip(tmp_path, (net, w))
    assert again == net
    assert again.loss_function.parameter == net.loss_function.parameter
    assert same_bits(parameters, w)
    inputs = X[:, : net.widths[0]]
    assert same_bits(again.predict(parameters, inputs), net.predict(w, inputs))


def test_odd_numbers_come_back(tmp_path):
    net = fm.Network([1, 3], bias=False, dtype="float64")
    w = np.array([-0.0, 5e-324, np.finfo(np.float64).max])
    assert same_bits(_round_trip(tmp_path, (net, w))[1], w)


def test_parameters_come_back_writable_and_in_the_networks_dtype(tmp_path):
    net, w = _network()
    again, parameters = _round_trip(tmp_path, [net, w.astype(np.float64)[::-1][::-1]])
    assert parameters.flags.writeable
    assert parameters.flags.c_contiguous
    assert same_bits(parameters, w)
    assert again == net


def test_a_loss_of_ones_own_is_given_again(tmp_path):
    path = tmp_path / "own"
    loss = fm.losses.custom(_value, _derivative, name="fourth")
    net, w = _network(loss=loss)
    fm.save(path, (net, w))
    with pytest.raises(fm.FormatError, match="give it as loss="):
        fm.load(path)
    again, parameters = fm.load(path, loss=loss)
    assert again == net
    assert same_bits(parameters, w)


@pytest.mark.parametrize("loss", ["huber", fm.losses.huber(), _value])
def test_load_refuses_a_loss_that_is_not_ones_own(tmp_path, loss):
    fm.save(tmp_path / "net", _network())
    with pytest.raises(TypeError, match="loss must be one of"):
        fm.load(tmp_path / "net", loss=loss)


class _Subclass(fm.MLPClassifier):
    pass


@pytest.mark.parametrize(
    ("model", "error", "match"),
    [
        (None, TypeError, "model must be"),
        (_network()[1], TypeError, "model must be"),
        (_network()[0], TypeError, "model must be"),
        ((_network()[0], None), ValueError, "w must hold real numbers"),
        ((_network()[0], np.zeros(25)), ValueError, r"w has shape \(25,\)"),
        ((_network()[0], np.full(26, np.nan)), ValueError, "w must be finite"),
        ((_network()[0], np.full(26, 1e300)), ValueError, "beyond the range of float32"),
        ((_network()[1], _network()[0]), TypeError, "model must be"),
        (fm.MLPClassifier, TypeError, "cannot hold"),
        (_Subclass(), TypeError, "cannot hold a _Subclass"),
        (classifier(), ValueError, "not fitted yet"),
        (regressor(), ValueError, "not fitted yet"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_anything_is_written(tmp_path, model, error, match):
    path = tmp_path / "model"
    with pytest.raises(error, match=match):
        fm.save(path, model)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"as it was")
    with pytest.raises(error, match=match):
        fm.save(path, model)
    assert [(one, one.read_bytes()) for one in tmp_path.iterdir()] == [(path, b"as it was")]


def test_models_of_others_are_refused(tmp_path):
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    y = TARGETS > 0
    for model in (LogisticRegression().fit(X, y), make_pipeline(PCA(2), classifier()).fit(X, y)):
        with pytest.raises(TypeError, match="file can"):
            fm.save(tmp_path / "model", model)
    assert list(tmp_path.iterdir()) == []


def test_unfitted_estimators_raise_scikit_learns_error(tmp_path):
    from sklearn.exceptions import NotFittedError
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    for model in (classifier(), make_pipeline(StandardScaler(), regressor())):
        with pytest.raises(NotFittedError):
            fm.save(tmp_path / "model", model)
    half = make_pipeline(StandardScaler(), regressor().fit(X, TARGETS))
    with pytest.raises(NotFittedError):
        fm.save(tmp_path / "model", half)


# Places ---------------------------------------------------------------------------------------


def test_paths_are_strings_or_path_likes(tmp_path, monkeypatch):
    net, w = _network()
    monkeypatch.chdir(tmp_path)
    for path in ("here", Path("there"), str(tmp_path / "ü ✓.safetensors")):
        fm.save(path, (net, w))
        assert fm.load(path)[0] == net
    for wrong in (b"here", 3, None):
        with pytest.raises(TypeError, match="path must be"):
            fm.save(wrong, (net, w))
        with pytest.raises(TypeError, match="path must be"):
            fm.load(wrong)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX")
def test_names_that_are_no_utf_8_serve(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff\xfe")
    net, w = _network()
    try:
        fm.save(path, (net, w))
    except OSError:
        pytest.skip("the file system wants UTF-8")
    assert same_bits(fm.load(path)[1], w)


def test_places_that_are_none_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder that exists"):
        fm.save(tmp_path / "none" / "model", _network())
    with pytest.raises(IsADirectoryError, match="must be a file"):
        fm.save(tmp_path, _network())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs")
def test_what_is_no_file_is_not_replaced(tmp_path):
    """As root, a save to /dev/null would have put a file in its place."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, Path("/dev/null")):
        with pytest.raises(FileExistsError, match="must be a file"):
            fm.save(path, _network())
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_saving_over_a_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "model"
    path.write_bytes(b"")
    path.chmod(mode)
    fm.save(path, _network())
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert fm.load(path)[0] == _network()[0]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_new_files_have_the_mode_of_new_files(tmp_path):
    fm.save(tmp_path / "model", _network())
    (tmp_path / "other").touch()
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "models").mkdir()
    target, link, second = tmp_path / "models" / "model", tmp_path / "link", tmp_path / "second"
    link.symlink_to("models/model")
    second.symlink_to(link)
    for path in (link, second):  # the first makes the target
        fm.save(path, _network())
        assert path.is_symlink()
        assert not target.is_symlink()
        assert fm.load(path)[0] == fm.load(target)[0] == _network()[0]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link", "models", "second"]
    assert [one.name for one in target.parent.iterdir()] == ["model"]


# What others see ------------------------------------------------------------------------------


def test_safetensors_alone_reads_the_numbers(tmp_path):
    net, w = _network(dtype="float64")
    fm.save(tmp_path / "net", (net, w))
    fitted = classifier(early_stopping=True).fit(
        X.astype(np.float32), np.digitize(TARGETS, [-1, 1])
    )
    fm.save(tmp_path / "classifier", fitted)
    with safe_open(tmp_path / "net", framework="np") as file:
        assert list(file.keys()) == ["parameters"]
        assert same_bits(file.get_tensor("parameters"), w)
    with safe_open(tmp_path / "classifier", framework="np") as file:
        names = {"parameters", "labels.classes", "optimizer.best", "optimizer.state.1"}
        assert set(file.keys()) == names
        assert same_bits(file.get_tensor("parameters"), fitted.parameters_)
        assert same_bits(file.get_tensor("labels.classes"), fitted.classes_)


def test_two_saves_of_one_model_are_the_same_bytes(tmp_path):
    y = np.digitize(TARGETS, [-1, 1])
    for model in (_network(), classifier().fit(X, y), regressor(solver="lbfgs").fit(X, TARGETS)):
        fm.save(tmp_path / "a", model)
        fm.save(tmp_path / "b", model)
        again = fm.load(tmp_path / "a")
        fm.save(tmp_path / "c", again)
        a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
        assert a == b == c


def test_without_the_optimizer_a_file_is_smaller(tmp_path):
    fitted = classifier(hidden_layer_sizes=(100,)).fit(X, TARGETS > 0)
    fm.save(tmp_path / "with", fitted)
    fm.save(tmp_path / "without", fitted, optimizer=False)
    sizes = [(tmp_path / name).stat().st_size for name in ("with", "without")]
    assert sizes[0] - sizes[1] >= 2 * fitted.parameters_.nbytes
    without = fm.load(tmp_path / "without")
    assert same_bits(without.predict_proba(X), fitted.predict_proba(X))
    assert without.get_params() == fitted.get_params()
    without.partial_fit(X, TARGETS > 0)  # begins anew
    assert np.isfinite(without.loss_)


def test_the_model_of_a_checkpoint_is_loaded(tmp_path):
    net, w = _network(output="sigmoid", loss="squared_error")
    Y = np.abs(np.tanh(X[:, :2]))
    path = tmp_path / "run"
    result = fm.minibatch_sgd(net, X[:, :3], Y, w, rng=0, epochs=2, checkpoint=path)
    again, parameters = fm.load(path)
    assert again == net
    assert same_bits(parameters, result.x)


def test_plain_saves_and_loads_do_not_warn(tmp_path):
    models = _network(), classifier().fit(X, TARGETS > 0), regressor().fit(X, TARGETS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model in models:
            _round_trip(tmp_path, model)
