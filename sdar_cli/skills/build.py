"""From episodes to a skill bank: what the builders share.

A builder turns episodes into skills; this file reads the episodes, learns keywords from their goals, records where
everything came from, and writes the bank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sdar_cli import __version__
from sdar_cli.errors import ConfigError, RunFailedError
from sdar_cli.skills.bank import GENERAL, Bank, Origin, Skill
from sdar_cli.skills.keywords import learn_keywords
from sdar_cli.skills.traces import Trace, Traces
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
    strangers = [trace for trace in traces.episodes if trace.env not in ("", wanted.environment)]
    if strangers:
        first, share = strangers[0], f"{len(strangers)} of {len(traces.episodes)} episodes"
        raise ConfigError(
            f"{share} are of {first.env}, not of {wanted.environment}",
            why=f"the first is {first.file}, line {first.line}",
            fix=f"--env {first.env}",
        )
    skills, warnings = builder(traces.episodes, wanted.environment)
    types = {skill.category for skill in skills} - {GENERAL}
    if not types:
        raise RunFailedError(
            f"no skill was found in {len(traces.episodes)} episodes",
            why="; ".join(warnings) or "no task type has both won and lost episodes that differ",
            fix="give more episodes, of a policy that wins now and then",
        )
    goals = {kind: [t.goal for t in traces.episodes if t.type == kind] for kind in {t.type for t in traces.episodes}}
    learnt = learn_keywords(goals)
    keywords = {kind: found for kind, found in learnt.items() if kind in types}
    warnings += [
        f"{kind}: its goals share no phrase, so it has no keywords" for kind, found in keywords.items() if not found
    ]
    bare = sorted(goals.keys() - types)
    if bare:
        warnings.append(f"no skill of {', '.join(bare)}: retrieval=task-type refuses such tasks, keyword does not")
    if traces.broken:
        warnings.append(f"{traces.broken} episodes in which nothing was played or the environment failed were left out")
    origin = Origin(
        builder=label,
        sdar=__version__,
        episodes=len(traces.episodes),
        won=sum(trace.won for trace in traces.episodes),
        files=dict(sorted(traces.files.items())),
    )
    draft = Draft(wanted.name, "1", wanted.environment, wanted.licence, keywords, skills, origin)
    return write_bank(draft, wanted.out), warnings
