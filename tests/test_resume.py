"""A training that is killed and goes on: examples/resume.py."""

import re

import numpy as np
import pytest

import fastmlp as fm
from examples_loader import load_example

example = load_example("resume")
QUICK = ["--samples", "4000", "--epochs", "8", "--kills", "2"]


def test_it_comes_to_the_same_bits(capfd):
    assert example.main([*QUICK, "--seed", "1"]) == 0
    out = capfd.readouterr().out
    assert [*map(int, re.findall(r"process (\d)", out))] == [1, 2, 3]
    assert "process 1: 0 updates are done" in out
    assert out.count("then it is killed") == int(re.search(r"Killed (\d) times", out)[1])
    assert "the same bits as one that was left alone" in out
    assert re.search(r"s more with 8 checkpoints of 0\.\d\d MB", out)


def test_it_goes_on_where_it_was_killed(tmp_path, capsys):
    """Whenever that was: here an error ends it."""

    def stop(state):
        raise ZeroDivisionError

    kept = fm.Checkpoints(tmp_path / "run.ckpt", every_n_steps=50)
    with pytest.raises(ZeroDivisionError):
        example.train(4000, 3, checkpoint=kept, callback=stop)
    example.main(["--in", str(tmp_path), "--samples", "4000", "--epochs", "3"])
    assert capsys.readouterr().out == "50 updates are done\n"
    resumed = fm.load(tmp_path / "resumed.safetensors")[1]
    assert np.array_equal(resumed, example.train(4000, 3).x)


def test_other_bits_are_told(monkeypatch, capsys):
    def other(folder, *args):
        fm.save(folder / "resumed.safetensors", (example.NET, example.NET.init(rng=9)))
        return 3

    monkeypatch.setattr(example, "kill_and_resume", other)
    assert example.main(["--samples", "100", "--epochs", "1"]) == 1
    assert "Killed 3 times, the training has come to OTHER BITS" in capsys.readouterr().out


def test_it_learns():
    loss = example.train(4000, 8).history.loss
    assert loss[-1] < loss[0] / 2
