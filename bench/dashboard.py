"""A dashboard of the last commits of the current branch: a folder of static pages, by asv.

python -m bench.dashboard [--commits 10] [--bench REGEX ...] [--quick] [--output FOLDER]

Each commit of the branch's first parents is built in an environment with the versions that
asv.conf.json states, and run through the benchmarks of the work tree; what has results already is
skipped. How to read the pages, and to publish them: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.checkouts import ROOT

FAILURES = 2  # asv's exit code where all has run, but not all benchmarks could
PAGES = {"index.html", "asv.js"}  # are in each folder that asv has published into


def asv(*arguments: str, config: Path) -> int:
    """Run asv with a configuration; return its exit code."""
    command = [sys.executable, "-m", "asv", "--config", str(config), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}  # a configuration's plugins are in bench/
    return subprocess.run(command, env=environment, check=False).returncode


def quick_configuration() -> Path:
    """Write a configuration with results and pages of its own: quick ones say nothing of speed."""
    settings = json.loads((ROOT / "asv.conf.json").read_text())
    folder = ROOT / ".asv" / "quick"
    folder.mkdir(parents=True, exist_ok=True)
    settings |= {
        "repo": str(ROOT),
        "benchmark_dir": str(ROOT / settings["benchmark_dir"]),
        "env_dir": str(ROOT / settings["env_dir"]),
        "results_dir": str(folder / "results"),
        "html_dir": str(folder / "html"),
    }
    path = folder / "asv.conf.json"
    path.write_text(json.dumps(settings, indent=4) + "\n")
    return path


def know_machine(config: Path) -> None:
    """Describe this machine to asv, unless that has been done."""
    from asv.machine import Machine, MachineCollection
    from asv.util import UserError

    try:
        MachineCollection.load(Machine.get_unique_machine_name())
    except UserError:
        asv("machine", "--yes", config=config)


def may_be_replaced(folder: Path) -> bool:
    """Whether there is nothing in a folder but a dashboard: asv removes what is there."""
    if not folder.exists():
        return True
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {".not a folder"}
    return not names or (names >= PAGES and not any(name.startswith(".") for name in names))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.dashboard",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--commits", type=int, default=10, metavar="N", help="default: %(default)s")
    add(
        "--bench", action="append", default=[], metavar="REGEX",
        help="of benchmarks' names; may be given more than once; default: all",
    )  # fmt: skip
    add(
        "--quick", action="store_true",
        help="each benchmark once, on small works: to look at the pages; kept apart in .asv/quick/",
    )  # fmt: skip
    add("--output", type=Path, metavar="FOLDER", help="default: .asv/html")
    args = parser.parse_args(arguments)
    if args.commits < 1:
        parser.error("--commits must be at least 1")
    if importlib.util.find_spec("asv") is None:
        parser.error('asv is not installed: pip install -e ".[test]"')
    config = quick_configuration() if args.quick else ROOT / "asv.conf.json"
    configured = Path(json.loads(config.read_text())["html_dir"])
    pages = args.output.resolve() if args.output else ROOT / configured
    if not may_be_replaced(pages):
        parser.error(f"--output {pages} has something else in it than a dashboard")
    know_machine(config)
    commits = f"HEAD -n {args.commits}"  # as `git rev-list --first-parent` takes it
    options = [f"--bench={regex}" for regex in args.bench]
    if args.quick:
        os.environ["FASTMLP_BENCH_SMALL"] = "1"
        options.append("--quick")
    code = asv("run", commits, "--skip-existing", *options, config=config)
    if code not in (0, FAILURES):
        return code
    published = asv("publish", "--html-dir", str(pages), commits, config=config)
    if published:
        return published
    if code == FAILURES:
        print(
            "Some benchmarks failed, as those of what a commit cannot do: plots lack these points."
        )
    print(f"The pages are in {pages}: asv preview --html-dir {pages}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
