"""A plugin of asv's: pages that load scripts from their own folder, and have no empty plots.

asv's own pages load jQuery, Flot and Bootstrap from three hosts of other people's, and stay empty
where those cannot be reached. `bench/javascript/` has the same versions of them. And asv's grid
leaves a hole for each benchmark that has not been run.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

try:
    from asv.publishing import OutputPublisher
except ModuleNotFoundError:  # where benchmarks run, and this module is imported as all are
    OutputPublisher = object

SCRIPTS = Path(__file__).with_name("javascript")
COPIES = {
    "https://code.jquery.com/jquery-3.3.1.min.js": "jquery-3.3.1.min.js",
    **{
        f"https://cdnjs.cloudflare.com/ajax/libs/flot/0.8.3/{name}.min.js": f"{name}.js"
        for name in (
            "jquery.flot", "jquery.flot.time", "jquery.flot.selection", "jquery.flot.categories"
        )
    },
    "https://cdn.jsdelivr.net/npm/flot-orderbars@1.0.0/js/jquery.flot.orderBars.js":
        "jquery.flot.orderBars.js",
    # 1.0.1 is not on npm; 1.1.3 has the same interface.
    "https://cdnjs.cloudflare.com/ajax/libs/stupidtable/1.0.1/stupidtable.min.js":
        "stupidtable.min.js",
    "https://cdnjs.cloudflare.com/ajax/libs/blueimp-md5/2.19.0/js/md5.min.js": "md5.min.js",
    "https://cdn.jsdelivr.net/npm/bootstrap@3.1.1/dist/js/bootstrap.min.js": "bootstrap.min.js",
    "https://cdn.jsdelivr.net/npm/bootstrap@3.1.1/dist/css/bootstrap.min.css": "bootstrap.min.css",
}  # fmt: skip
LOADED = re.compile(
    r"""(?P<attribute>src|href)="(?P<url>https?://[^"]+)"\s+integrity="[^"]*"(\s+crossorigin="[^"]*")?"""
    r"""(\s+referrerpolicy="[^"]*")?"""
)


def local(page: str) -> tuple[str, list[str]]:
    """Return a page that loads the copies, and what it still loads from elsewhere."""
    unknown = []

    def replaced(match: re.Match[str]) -> str:
        copy = COPIES.get(match["url"])
        if copy is None:
            unknown.append(match["url"])
            return match[0]
        return f'{match["attribute"]}="{SCRIPTS.name}/{copy}"'

    return LOADED.sub(replaced, page), unknown


class Pages(OutputPublisher):
    """asv finds it among the subclasses, and writes the index afterwards."""

    name = "pages"
    button_label = "Pages"
    description = "Load scripts from this folder; leave out what has not been run"

    @classmethod
    def publish(cls, conf, repo, benchmarks, graphs, revisions):
        from asv.console import log

        for name in set(benchmarks) - {Path(path).name for path, _ in graphs}:
            del benchmarks[name]
        folder = Path(conf.html_dir)
        shutil.copytree(SCRIPTS, folder / SCRIPTS.name, dirs_exist_ok=True)
        index = folder / "index.html"
        page, unknown = local(index.read_text(encoding="utf-8"))
        index.write_text(page, encoding="utf-8")
        for url in unknown:
            log.warning(f"bench/javascript/ has no copy of {url}")
