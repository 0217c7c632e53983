"""The settings of Search-QA."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sdar_cli.base.section import NonNegative
from sdar_cli.envs.options import EnvOptions


class SearchOptions(EnvOptions):
    """``data``: a folder of questions, and of a corpus unless ``retriever`` is set; without it a world is generated."""

    name: str = Field(default="search", description="the environment")
    retriever: str | None = Field(
        default=None,
        description="folder of an index, http://HOST:PORT (several with commas between), or "
        "opensearch+http://HOST:PORT/INDEX; default: an index of the data's corpus, made once",
    )
    top_k: Annotated[int, Field(ge=1, le=50)] = Field(default=3, description="passages per query")
    information: Literal["search_r1", "sdar"] = Field(
        default="search_r1", description="passages as Search-R1 writes them, or as the released code does"
    )
    invalid_hint: Literal["none", "search_r1"] = Field(
        default="none", description="after a missing action show nothing (released), or what was wrong"
    )
    score_scope: Literal["final_action", "released"] = Field(
        default="final_action",
        description="what is judged: the last action, or the last answer block of the whole history, passages "
        "included (released code)",
    )
    on_error: Literal["mask", "end"] = Field(
        default="mask", description="when a search fails for good: take its episodes out of the loss, or end the run"
    )
    questions_per_source: NonNegative = Field(
        default=0, description="questions of each data set in a panel, drawn with games_seed; 0 = all"
    )
    skip_bad: bool = Field(default=False, description="leave out bad rows, at most 1 % of them")
    cache: bool = Field(default=True, description="remember answers of the retriever")
    step_timeout: float = Field(default=120.0, gt=0, description="seconds a remote search may take, all tries together")
