"""Search-QA's record: what the rest of the program asks of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sdar_cli.base.errors import Missing, PrerequisiteError
from sdar_cli.envs.benchmark import Benchmark, PlayRules, Rates, RunSettings, Steps
from sdar_cli.envs.search import prompt
from sdar_cli.envs.search.options import SearchOptions

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.envs.search.env import SearchEnvironment

POLICY = "tiny-search"
SMALLEST = "bamboogle"
"""125 questions, which move the macro mean as much as any other data set."""


def _open(options: SearchOptions, reporter: Reporter | None = None) -> SearchEnvironment:
    from sdar_cli.envs.search.env import open_environment

    return open_environment(options, reporter)


def _missing(options: SearchOptions) -> list[Missing]:
    """Files and folders; whether a server answers is seen when the run starts."""
    from sdar_cli.envs.search.data.sources import check_files

    try:
        check_files(options)
    except PrerequisiteError as error:
        return [Missing(f"Search-QA data: {error.what}", error.fix)]
    return []


def _warnings(config: RunSettings) -> list[str]:
    env, found = config.env, []
    if env.score_scope == "released":
        found.append(
            "env.score_scope = released judges the last answer block of the whole history, and passages keep their "
            "tags: one that holds an answer block can score"
        )
    if env.context == "window" and env.history < env.max_turns - 1:
        found.append(f"env.history = {env.history} of {env.max_turns} turns: earlier passages are forgotten")
    if config.model.name == POLICY and env.source == "real":
        found.append(f"{POLICY} was warm-started on generated passages: expect next to nothing on real ones")
    return found


def _means(rates: Rates) -> dict[str, float]:
    """Macro: the mean of the data sets' rates, which is the paper's figure; micro: that of all episodes."""
    from sdar_cli.envs.search.data.questions import SOURCES

    if not rates.types or not set(rates.types) <= set(SOURCES):
        return {}
    means = {"macro mean": sum(rates.types.values()) / len(rates.types), "micro mean": rates.overall}
    rest = [rate for name, rate in rates.types.items() if name != SMALLEST]
    if 0 < len(rest) < len(rates.types):
        means[f"macro mean without {SMALLEST}"] = sum(rest) / len(rest)
    return means


def _steps() -> Steps:
    from sdar_cli.envs.search import steps

    return steps


def _data() -> Mapping[str, Callable[..., None]]:
    from sdar_cli.envs.search import commands

    return {"make": commands.make, "verify": commands.verify}


SEARCH = Benchmark(
    name="search",
    title="Search-QA",
    description="questions answered by searching passages",
    options=SearchOptions,
    open=_open,
    prompts=prompt,
    bank="search",
    default_model=POLICY,
    noun="questions",
    missing=_missing,
    warnings=_warnings,
    no_effect=frozenset({"step_timeout"}),
    means=_means,
    steps=_steps,
    data=_data,
    play=PlayRules(split="all", examples=("--task bridge/00010 --actions plan.txt --json",)),
)
