"""The builder ``contrast``: rules from what won episodes do and lost ones do not.  No model is asked.

Actions become steps in words of the goal (the environment's ``steps`` module).  Per task type:

- *Do*: steps of nearly all won episodes that lost ones have less often (Fisher's exact test) or in another order, as
  the won ones order them; their one-sentence form is the skill's brief.
- *Order*: pairs of such steps where, among the episodes with the second, the first
  came before it more often in won ones.
- *Avoid*: steps that go with losing among episodes of the same task (Mantel and Haenszel's test over tasks that were
  both won and lost), counted within as many turns as the median won episode has, because lost ones are longer.

The general skill holds what goes with winning or losing in that sense in all types together.  Order, Avoid and general
rules are corrected for the number of patterns tried (Holm).  All of it is association, not cause: every rule
carries its counts.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from sdar_cli.base.errors import ConfigError
from sdar_cli.envs.base import Trace
from sdar_cli.envs.benchmark import Steps
from sdar_cli.envs.registry import steps_of
from sdar_cli.skills.bank import GENERAL, Skill
from sdar_cli.skills.build.evidence import Count, count, normal_tail, pooled_z
from sdar_cli.skills.build.traces import references
from sdar_cli.stats.holm import holm


@dataclass(frozen=True)
class Limits:
    """What a rule needs.  ``core``: share of won episodes that a step of the procedure is in; ``support``: won
    episodes of a type without which it gets no skill, and episodes that a rule must rest on."""

    alpha: float = 0.05
    core: float = 0.9
    support: int = 3


@dataclass(frozen=True)
class Rule:
    """One finding about a task type; ``kind``: do, order or avoid."""

    kind: str
    text: str
    count: Count


@dataclass(frozen=True)
class _Episode:
    trace: Trace
    steps: list[str]
    early: frozenset[str]
    """Steps within the first turns, as many as the median won episode of the type has."""

    @property
    def all(self) -> frozenset[str]:
        return frozenset(self.steps)


def contrast(traces: Sequence[Trace], env: str, limits: Limits) -> tuple[list[Skill], list[str]]:
    """(skills, warnings): one skill per task type that has enough won episodes, and a general one where something
    holds for all types.  Raises ConfigError for goals that the environment's ``steps`` does not know."""
    words = steps_of(env)
    by_type: dict[str, list[_Episode]] = {}
    for kind in sorted({trace.type for trace in traces}):
        by_type[kind] = _read([trace for trace in traces if trace.type == kind], words)
    skills, warnings, done = [], [], set()
    for kind, episodes in by_type.items():
        won, lost = _split(episodes)
        if len(won) < limits.support:
            warnings.append(f"{kind}: {len(won)} of {len(episodes)} episodes won, too few for a skill")
            continue
        order, order_rules = procedure(won, lost, limits)
        if not order:
            warnings.append(f"{kind}: no step separates {len(won)} won from {len(lost)} lost episodes: no skill")
            continue
        if not lost:
            warnings.append(f"{kind}: all {len(won)} episodes won: its rules are what they share, not what separates")
        done |= set(order)
        rules = [Rule("do", step, count([e.all for e in won], [e.all for e in lost], step)) for step in order]
        rules += order_rules
        rest = sorted({step for e in episodes for step in e.early} - set(order))
        rules += [rule for rule in _tested(episodes, rest, limits) if rule.kind == "avoid"]
        skills.append(_skill(kind, episodes, words.brief(order), rules))
    general = _general(by_type, done, words, limits)
    if unread := _unread(traces, words):
        warnings.append(unread)
    if not any(_mixed(episodes) for episodes in by_type.values()):
        warnings.append("no task was both won and lost: there are no rules of what to avoid, and none for all tasks")
    return general + skills, warnings


def _unread(traces: Sequence[Trace], words: Steps) -> str:
    """What to say of actions that the environment's steps know nothing of; empty where there are none."""
    counts = Counter(verb for trace in traces for verb in getattr(words, "unread", lambda trace: [])(trace))
    listed = ", ".join(f"{verb} ({number})" for verb, number in counts.most_common(10))
    return (
        f"{counts.total()} actions begin with words that are not known and say nothing here: {listed}" if counts else ""
    )


def procedure(won: Sequence[_Episode], lost: Sequence[_Episode], limits: Limits) -> tuple[list[str], list[Rule]]:
    """(steps in the order in which won episodes first do them, rules about their order).

    The steps of nearly all won episodes that lost ones have less often, or in another order; all of them where nothing
    was lost.
    """
    counts = {
        step: count([e.all for e in won], [e.all for e in lost], step)
        for step in sorted({step for episode in won for step in episode.steps})
    }
    core = [step for step, counted in counts.items() if counted.won_share >= limits.core]
    core.sort(key=lambda step: (statistics.mean(_rank(e, step) for e in won if step in e.all), step))
    orders = _orders(won, lost, core, limits)
    apart = {step for pair in orders for step in pair}
    apart |= {step for step in core if not lost or counts[step].p_helps() <= limits.alpha}
    rules = [Rule("order", f"{a} before you {b}", counted) for (a, b), counted in orders.items()]
    return [step for step in core if step in apart], rules


def _rank(episode: _Episode, step: str) -> float:
    """Where an episode first does a step, 0 to 1."""
    return episode.steps.index(step) / len(episode.steps)


def _orders(
    won: Sequence[_Episode], lost: Sequence[_Episode], core: Sequence[str], limits: Limits
) -> dict[tuple[str, str], Count]:
    """Pairs of steps whose order separates: of the episodes that did the second, how many had done the first before?"""
    counts = {}
    for a, b in combinations(core, 2):
        first, rest = ([{a} if _before(e, a, b) else set() for e in part if b in e.all] for part in (won, lost))
        counts[(a, b)] = count(first, rest, a)
    adjusted = holm([c.p_helps() for c in counts.values()])
    return {
        pair: counted
        for (pair, counted), p in zip(counts.items(), adjusted, strict=True)
        if counted.won + counted.lost >= limits.support and p <= limits.alpha
    }


def _before(episode: _Episode, a: str, b: str) -> bool:
    return a in episode.steps[: episode.steps.index(b)]


def _tested(episodes: Sequence[_Episode], names: Sequence[str], limits: Limits) -> list[Rule]:
    """Steps that go with winning (``do``) or losing (``avoid``) among those of one task, the strongest first."""
    mixed = _mixed(episodes)
    tables = [[count([e.early for e in won], [e.early for e in lost], n) for won, lost in mixed] for n in names]
    zs = [pooled_z(counts) for counts in tables]
    found = []
    for name, counts, z, p in zip(names, tables, zs, holm([normal_tail(abs(z)) for z in zs]), strict=True):
        total = Count(*(sum(getattr(c, key) for c in counts) for key in ("won", "won_of", "lost", "lost_of")))
        if total.won + total.lost >= limits.support and p <= limits.alpha:
            found.append((abs(z), Rule("do" if z > 0 else "avoid", name, total)))
    return [rule for _, rule in sorted(found, key=lambda item: (-item[0], item[1].text))]


def _mixed(episodes: Sequence[_Episode]) -> list[tuple[list[_Episode], list[_Episode]]]:
    """(won, lost) of every task that has both."""
    tasks: dict[str, list[_Episode]] = {}
    for episode in episodes:
        tasks.setdefault(episode.trace.task, []).append(episode)
    return [(won, lost) for won, lost in map(_split, tasks.values()) if won and lost]


def _general(by_type: Mapping[str, Sequence[_Episode]], done: set[str], words: Any, limits: Limits) -> list[Skill]:
    """The skill for every task, or nothing."""
    episodes = [e for each in by_type.values() for e in each]
    rules = _tested(episodes, sorted({step for e in episodes for step in e.early} - done), limits)
    brief = words.general_brief(*([r.text for r in rules if r.kind == kind] for kind in ("do", "avoid")))
    return [_skill(GENERAL, episodes, brief, rules)] if brief else []


def _skill(kind: str, episodes: Sequence[_Episode], brief: str, rules: Sequence[Rule]) -> Skill:
    goal = min((e.trace.goal for e in episodes), key=lambda text: (len(text), text))
    when = "Every task." if kind == GENERAL else f"Tasks of type {kind}, such as: {goal}"
    return Skill(
        id=kind,
        category=kind,
        when=when,
        brief=brief,
        text=_text(kind, episodes, rules),
        path="",
        sources=references(e.trace for e in episodes),
    )


HEADINGS = {
    "do": "**Do**:",
    "order": "**Order** (of the episodes that did the later step, how many had done the earlier one):",
    "avoid": "**Avoid** (of tasks that were both won and lost, within the turns a won episode takes):",
}


def _text(kind: str, episodes: Sequence[_Episode], rules: Sequence[Rule]) -> str:
    won, lost = _split(episodes)
    title = "every task" if kind == GENERAL else kind.replace("_", " ")
    parts = [f"# What wins {title}", f"Found by comparing {len(won)} won and {len(lost)} lost episodes."]
    for name, heading in HEADINGS.items():
        listed = [rule for rule in rules if rule.kind == name]
        numbered = name == "do" and kind != GENERAL
        bullets = [f"{i}." if numbered else "-" for i in range(1, len(listed) + 1)]
        lines = [f"{b} {_capital(r.text)}: {r.count.words()}." for b, r in zip(bullets, listed, strict=True)]
        if lines:
            parts.append("\n".join([heading, *lines]))
    return "\n\n".join(parts)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _read(traces: Sequence[Trace], words: Any) -> list[_Episode]:
    """The episodes of one type as steps."""
    done = []
    for trace in traces:
        try:
            done.append((trace, words.steps(trace)))
        except ValueError as error:
            where = f"{trace.file}, line {trace.line}"
            raise ConfigError(f"{where}: the goal is not understood", why=str(error), fix="--builder llm") from error
    lengths = [len(trace.acts) for trace in traces if trace.won] or [len(trace.acts) for trace in traces]
    turns = statistics.median(lengths)
    return [
        _Episode(trace, [step for _, step in steps], frozenset(step for turn, step in steps if turn < turns))
        for trace, steps in done
    ]


def _split(episodes: Sequence[_Episode]) -> tuple[list[_Episode], list[_Episode]]:
    """(won, lost)"""
    return [e for e in episodes if e.trace.won], [e for e in episodes if not e.trace.won]
