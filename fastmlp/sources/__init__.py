"""Where rows come from: arrays, and files that may be larger than memory."""

from fastmlp.sources.base import Source
from fastmlp.sources.file_source import FileSource
from fastmlp.sources.idx import load_idx
from fastmlp.sources.opening import open

__all__ = ["FileSource", "Source", "load_idx", "open"]
