"""From episodes to a skill bank: what the builders share.

A builder turns episodes into skills; this file reads the episodes, learns keywords from their goals, records where
everything came from, and writes the bank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sdar_cli import __version__
from sdar_cli.base.errors import ConfigError, RunFailedError
from sdar_cli.envs.base import Trace
from sdar_cli.skills.bank import GENERAL, Bank, Origin, Skill
from sdar_cli.skills.build.traces import Traces
from sdar_cli.skills.keywords import learn_keywords
from sdar_cli.skills.write import Draft, write_bank

Builder = Callable[[Sequence[Trace], str], tuple[list[Skill], list[str]]]
"""(episodes, environment) to (skills, warnings)."""


@dataclass(frozen=True)
class Wanted:
    """What the new bank is called."""

    name: str
    environment: str
    licence: str
    out: Path


def merge(parts: Sequence[Traces]) -> Traces:
    """Episodes of several sources as one; a file that two sources share is read once."""
    files: dict[str, str] = {}
    episodes: list[Trace] = []
    for part in parts:
        new = part.files.keys() - files.keys()
        episodes += [trace for trace in part.episodes if trace.file in new]
        files |= part.files
    return Traces(tuple(episodes), files, sum(part.broken for part in parts))


def build_bank(traces: Traces, builder: Builder, label: str, wanted: Wanted) -> tuple[Bank, list[str]]:
    """Build, write and load a bank; (bank, warnings).

    label: what made it, for ``origin``.  Raises RunFailedError where nothing was found, ConfigError where the folder is
    taken or the episodes are of another environment.
    """
    _refuse_strangers(traces.episodes, wanted.environment)
    skills, warnings = builder(traces.episodes, wanted.environment)
    types = {skill.category for skill in skills} - {GENERAL}
    if not types:
        raise RunFailedError(
            f"no skill was found in {len(traces.episodes)} episodes",
            why="; ".join(warnings) or "no task type has both won and lost episodes that differ",
            fix="give more episodes, of a policy that wins now and then",
        )
    origin = Origin(
        builder=label,
        sdar=__version__,
        episodes=len(traces.episodes),
        won=sum(trace.won for trace in traces.episodes),
        files=dict(sorted(traces.files.items())),
    )
    keywords = _keywords(traces.episodes, types)
    draft = Draft(wanted.name, "1", wanted.environment, wanted.licence, keywords, skills, origin)
    return write_bank(draft, wanted.out), [*warnings, *_gaps(traces, keywords)]


def _refuse_strangers(episodes: Sequence[Trace], env: str) -> None:
    strangers = [trace for trace in episodes if trace.env not in ("", env)]
    if strangers:
        first = strangers[0]
        raise ConfigError(
            f"{len(strangers)} of {len(episodes)} episodes are of {first.env}, not of {env}",
            why=f"the first is {first.file}, line {first.line}",
            fix=f"--env {first.env}",
        )


def _keywords(episodes: Sequence[Trace], types: set[str]) -> dict[str, tuple[str, ...]]:
    """Those of the bank's types; a keyword is in no goal of a type without skills."""
    goals = {kind: [trace.goal for trace in episodes if trace.type == kind] for kind in types}
    return learn_keywords(goals, [trace.goal for trace in episodes if trace.type not in types])


def _gaps(traces: Traces, keywords: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """What the bank does not cover, as warnings."""
    for kind, found in keywords.items():
        if not found:
            yield f"{kind}: its goals share no phrase of their own, so it has no keywords"
    bare = sorted({trace.type for trace in traces.episodes} - keywords.keys())
    if bare:
        yield f"no skill of {', '.join(bare)}: retrieval=task-type refuses such tasks, keyword does not"
    if traces.broken:
        yield f"{traces.broken} episodes in which nothing was played or the environment failed were left out"
