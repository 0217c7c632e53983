"""Names that the configuration and the command line both offer.  Imports little: help is quick."""

from __future__ import annotations

from typing import Literal

from sdar_cli.base.plugins import Kind

BENCHMARKS = Literal["alfworld", "webshop", "search"]
RETRIEVALS = Literal["task-type", "keyword", "ucb", "embedding", "random", "full", "none", "released"]
PLACEMENTS = Literal["user", "system", "prefix"]
FORMS = Literal["full", "brief"]
WORDINGS = Literal["compact", "full"]
METRIC = Kind("metric", "sdar_cli.evaluation.metrics", "METRICS", given=("episode",))
