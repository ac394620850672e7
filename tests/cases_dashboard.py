"""A published dashboard: this repository's benchmarks, with results made up for commits made up."""

import http.server
import itertools
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
N_COMMITS = 12
SLOWER_FROM, FACTOR = 7, 1.5


class Dashboard(NamedTuple):
    """A folder of pages; what is in them; which result is slower, by FACTOR, from which commit.

    One benchmark of the suite has not been run, and is not among `benchmarks`.
    """

    pages: Path
    benchmarks: dict[str, dict]
    slowed: str
    param: str
    commit: str


class Surroundings(NamedTuple):
    """Where asv runs, away from the user's own settings."""

    folder: Path
    environment: dict[str, str]

    @classmethod
    def below(cls, folder):
        people = {
            f"GIT_{role}_{part}": "a@b"
            for role in ("AUTHOR", "COMMITTER")
            for part in ("NAME", "EMAIL")
        }
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GIT_", "ASV_")) and name != "FASTMLP_BENCH_SMALL"
        }
        own = {"HOME": str(folder), "PYTHONPATH": str(ROOT)}
        own |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        return cls(folder, kept | people | own)

    def run(self, *command, **variables):
        done = subprocess.run(
            [str(part) for part in command], cwd=self.folder, env=self.environment | variables,
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def asv(self, *arguments, **variables):
        return self.run(sys.executable, "-m", "asv", *arguments, **variables)


def commits(surroundings, repository):
    """Make a repository; return its commits, the oldest first: one a day."""
    git = partial(surroundings.run, "git", "-C", repository)
    surroundings.run("git", "init", "--quiet", "--initial-branch=some-branch", repository)
    for day in range(N_COMMITS):
        date = f"2026-01-{day + 1:02}T12:00:00Z"
        message = f"Change number {day}"
        git(
            "commit", "--quiet", "--allow-empty", "--message", message,
            GIT_AUTHOR_DATE=date, GIT_COMMITTER_DATE=date,
        )  # fmt: skip
    return git("rev-list", "--reverse", "HEAD").split()


def save_results(benchmarks, machine, commit, day, slowed, results):
    """Save what a benchmark of each name might have measured, by asv's own means."""
    from asv.results import Results
    from asv.runner import BenchmarkResult

    requirements = {"numpy": "2.4.6"}
    params = machine | requirements | {"python": "3.11"}
    made = Results(
        params, requirements, commit, 1767268800000 + day * 86_400_000, "3.11", "virtualenv", {}
    )
    for number, (name, benchmark) in enumerate(benchmarks.items()):
        n_values = len(list(itertools.product(*benchmark["params"])))
        noise = 1 + 0.005 * ((day * 7 + number) % 5 - 2)
        values = [0.01 * (1 + k) * noise for k in range(n_values)]
        if name == slowed and day >= SLOWER_FROM:
            values[0] *= FACTOR
        nothing = [None] * n_values
        made.add_result(benchmark, BenchmarkResult(values, nothing, nothing, 0, "", None))
    made.save(results)


def publish(folder):
    """Return the dashboard of a repository made up below a folder."""
    pytest.importorskip("asv")
    surroundings = Surroundings.below(folder)
    hashes = commits(surroundings, folder / "repository")
    settings = json.loads((ROOT / "asv.conf.json").read_text()) | {
        "repo": str(folder / "repository"), "benchmark_dir": str(ROOT / "bench"),
        "env_dir": "env", "results_dir": "results", "html_dir": "pages",
    }  # fmt: skip
    (folder / "asv.conf.json").write_text(json.dumps(settings))
    surroundings.asv("machine", "--yes", "--machine", "somewhere")
    surroundings.asv(
        "run", "--machine", "somewhere", "--environment", f"existing:{sys.executable}",
        "--bench", "just-discover",
        ASV_PYTHONPATH=str(ROOT),  # else asv takes what PYTHONPATH names out of sys.path
    )  # fmt: skip
    results = folder / "results"
    benchmarks = json.loads((results / "benchmarks.json").read_text())
    del benchmarks["version"]
    benchmarks.popitem()
    machine = json.loads((results / "somewhere" / "machine.json").read_text())
    del machine["version"]
    slowed = next(
        name for name, each in benchmarks.items() if ".time_" in name and len(each["params"]) == 1
    )
    for day, commit in enumerate(hashes):
        save_results(benchmarks, machine, commit, day, slowed, str(results))
    surroundings.asv("publish")
    param = benchmarks[slowed]["params"][0][0].strip("'")
    return Dashboard(folder / "pages", benchmarks, slowed, param, hashes[SLOWER_FROM])


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@contextmanager
def served(folder):
    """Serve a folder on a free port; give its address."""
    handler = partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
