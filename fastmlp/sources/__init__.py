"""Where rows come from: arrays, and files that may be larger than memory."""

from fastmlp.sources.base import Source
from fastmlp.sources.idx import load_idx

__all__ = ["Source", "load_idx"]
