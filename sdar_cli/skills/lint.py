"""What is wrong, or probably not meant, in a skill bank: ``sdar skills lint``.

The bank alone: repeated texts, keywords that cannot work.  On a panel of tasks: what no task reaches and what no skill
covers.  With a model's tokenizer: what would not fit the teacher's budget.  An ``error`` would make a run fail or show
a teacher something else than the bank holds; a ``warning`` deserves a look; a ``note`` is fine in the right place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice

from sdar_cli.envs.base import Observation, Task
from sdar_cli.skills.bank import GENERAL, Bank, Skill
from sdar_cli.skills.choose.strategies import keyword_hits, skill_text
from sdar_cli.skills.duplicates import WORDS, similar_pairs
from sdar_cli.skills.keywords import FUNCTION_WORDS

Count = Callable[[str], int]
"""Text to number of tokens."""
LEVELS = ("error", "warning", "note")
FEW_WORDS = 5
SHOWN = 3
"""Examples named in a finding."""


@dataclass(frozen=True)
class Finding:
    """``level``: error, warning or note.  ``check``: the rule, for scripts.  ``where``: file, category or keyword."""

    level: str
    check: str
    where: str
    text: str

    def record(self) -> dict[str, str]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class Goal:
    """A task of the panel, its goal text and what is first seen of it."""

    task: Task
    text: str
    seen: Observation | None = None


def lint_bank(bank: Bank) -> list[Finding]:
    """What the bank alone shows."""
    return [*_repeats(bank), *_thin(bank), *_keywords(bank), *_inside(bank, [], "another keyword's word")]


def _repeats(bank: Bank) -> Iterator[Finding]:
    """Texts with the same content.  In one category both are shown together; in two it may be meant."""
    for pair in similar_pairs([skill.text for skill in bank.skills]):
        skill, other = bank.skills[pair.later], bank.skills[pair.earlier]
        exact = pair.similarity == 100
        level = "error" if exact and skill.category == other.category else "warning"
        how = "has the words of" if exact else f"is {pair.similarity:.0f} % the same as"
        yield Finding(level, "duplicate" if exact else "near-duplicate", skill.path, f"its text {how} {other.path}")
    briefs: dict[tuple[str, str], Skill] = {}
    for skill in bank.skills:
        other = briefs.setdefault((skill.category, " ".join(WORDS.findall(skill.brief.lower()))), skill)
        if other is not skill:
            yield Finding("warning", "duplicate-brief", skill.path, f"its brief is that of {other.path}")


def _thin(bank: Bank) -> Iterator[Finding]:
    for skill in bank.skills:
        words = sum(1 for _ in islice(WORDS.finditer(skill.text), FEW_WORDS))
        if not words:
            yield Finding("error", "empty", skill.path, "its text has no words")
        elif words < FEW_WORDS:
            yield Finding("warning", "short", skill.path, f"its text has {words} words")


def _keywords(bank: Bank) -> Iterator[Finding]:
    """Keywords that are missing, mean nothing, or come too late: the first category with a match is taken."""
    owners: dict[tuple[str, ...], str] = {}
    for category, keywords in bank.categories.items():
        if not keywords:
            yield Finding("warning", "no-keywords", category, "keyword retrieval never chooses it")
        for keyword in keywords:
            words = tuple(keyword.lower().split())
            if FUNCTION_WORDS.issuperset(words):
                text = f"{keyword!r} is an everyday word; --env shows how many goals it takes"
                yield Finding("note", "common-keyword", category, text)
            sooner = next((run for run in _runs(words) if owners.get(run, category) != category), None)
            if sooner:
                text = f"{keyword!r} never decides: {owners[sooner]} comes before and has {' '.join(sooner)!r}"
                yield Finding("warning", "unreachable-keyword", category, text)
        for keyword in keywords:
            owners.setdefault(tuple(keyword.lower().split()), category)


def _runs(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Every run of words in a phrase, the phrase itself first."""
    for size in range(len(words), 0, -1):
        yield from (tuple(words[i : i + size]) for i in range(len(words) - size + 1))


def _inside(bank: Bank, words: Iterable[str], what: str) -> Iterator[Finding]:
    """Keywords of one word that are part of longer words.  Whole-word retrieval is not misled, other readers are."""
    single = {k.lower(): category for category, ks in bank.categories.items() for k in ks if len(k.split()) == 1}
    if not single:
        return
    shortest, longest = min(map(len, single)), max(map(len, single))
    pool = set(words) or {word for ks in bank.categories.values() for k in ks for word in k.lower().split()}
    found: dict[str, list[str]] = {}
    for word in sorted(pool):
        parts = {word[i:j] for i in range(len(word)) for j in range(i + shortest, min(len(word), i + longest) + 1)}
        for keyword in sorted(parts & single.keys() - {word}):
            if word not in (f"{keyword}s", f"{keyword}es"):  # a plural is the same word
                found.setdefault(keyword, []).append(word)
    for keyword, longer in found.items():
        text = f"{keyword!r} is inside {what}: {_some(longer)}; only whole words match here, elsewhere parts may"
        yield Finding("note", "keyword-inside-word", single[keyword], text)


def lint_panel(bank: Bank, goals: Sequence[Goal]) -> list[Finding]:
    """What the tasks of a panel show."""
    findings = []
    types = Counter(goal.task.type for goal in goals)
    for kind, number in sorted(types.items()):
        if bank.category_of(kind) not in bank.categories:
            text = f"{number} tasks of this type have no skill; retrieval=task-type refuses them"
            findings.append(Finding("error", "uncovered-type", kind, text))
    hits = [list(keyword_hits(bank, goal.text)) for goal in goals]
    chosen = Counter(found[0][0] for found in hits if found)
    owners = Counter(bank.category_of(goal.task.type) for goal in goals)
    owners.update(bank.routes[goal.task.type] for goal in goals if goal.task.type in bank.routes)
    for category in bank.categories:
        reached = [how for how, n in (("type", owners[category]), ("keyword", chosen[category])) if n]
        if not reached:
            findings.append(Finding("warning", "unreached-category", category, "no task of the panel reaches it"))
    return findings + list(_keyword_findings(bank, goals, hits)) + list(_words_of_goals(bank, goals))


def _keyword_findings(bank: Bank, goals: Sequence[Goal], hits: Sequence[list[tuple[str, str]]]) -> Iterator[Finding]:
    missed = [goal.task.id for goal, found in zip(goals, hits, strict=True) if not found]
    if missed:
        text = f"no keyword is in the goals of {len(missed)} of {len(goals)} tasks: {_some(missed)}"
        yield Finding("warning", "uncovered-goal", "keywords", text)
    wrong: dict[tuple[str, str, str], int] = Counter()
    for goal, found in zip(goals, hits, strict=True):
        own = bank.category_of(goal.task.type)
        if found and own in bank.categories and found[0][0] != own:
            wrong[(goal.task.type, *found[0])] += 1
    for (kind, category, keyword), number in sorted(wrong.items()):
        text = f"{keyword!r} takes {number} tasks of type {kind}"
        yield Finding("warning", "keyword-of-other-type", category, text)
    counts = Counter(pair for found in hits for pair in set(found))
    for (category, keyword), number in sorted(counts.items()):
        if number == len(goals) > 1:
            yield Finding("warning", "keyword-matches-all", category, f"{keyword!r} is in every goal of the panel")


def _words_of_goals(bank: Bank, goals: Sequence[Goal]) -> Iterator[Finding]:
    words = {word for goal in goals for word in WORDS.findall(goal.text.lower())}
    if words:
        yield from _inside(bank, words, "words of the panel's goals")


def lint_tokens(bank: Bank, count: Count, budget: int, prompts: Mapping[str, int]) -> list[Finding]:
    """Skill texts against the teacher's budget, in tokens.

    prompts: the longest first prompt without a skill, per task type; empty when no panel was played.
    """
    findings = []
    for category in bank.categories:
        shown = [*bank.of(GENERAL), *bank.of(category)]
        room = budget - prompts.get(category, 0)
        for form in ("brief", "full"):
            tokens = count(skill_text(shown, form))
            where = f"form {form}: {tokens} tokens of skills, room for {max(0, room)} of {budget}"
            if tokens > room:
                level = "error" if form == "brief" else "warning"
                findings.append(Finding(level, "over-budget", category, f"{where}: the skill would be cut"))
            elif tokens > room // 2 and form == "brief":
                findings.append(Finding("warning", "long", category, f"{where}: history would be cut early"))
    return findings


def summary(findings: Sequence[Finding]) -> dict[str, int]:
    """Counts by level."""
    return {level + "s": sum(f.level == level for f in findings) for level in LEVELS}


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
