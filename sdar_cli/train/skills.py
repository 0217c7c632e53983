"""After each step: what its groups show about their teachers' skills, learnt and written to ``skills.jsonl``.

One line per group and strategy: ``step``, ``group``, ``task``, ``type``, ``strategy``, ``views`` (of the teacher that
use it), ``policy`` (whether the policy itself was shown the skill), ``skills`` (ids), ``scores`` (of the best
candidates; null for one that was never tried), ``candidates`` (their number), ``episodes``, ``reward``, ``success``,
``gap`` and ``gate`` (means over the group's tokens, of the teacher's first view), and ``changes`` made to the bank.

The first process learns and writes; the others take over what it learnt.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sdar_cli.base import distributed
from sdar_cli.base.errors import RunConflictError
from sdar_cli.config.plugs import EVOLVE
from sdar_cli.config.schema import RunConfig
from sdar_cli.envs.base import Task
from sdar_cli.rollout.episode import Episode
from sdar_cli.runs.metrics import MetricsWriter, read_metrics
from sdar_cli.session import SKILLS_FILE, load_skills
from sdar_cli.skills.choose.evolve import Group, Hook
from sdar_cli.skills.choose.retriever import Choices, Retriever
from sdar_cli.skills.choose.strategies import Choice

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.train.teacher import TeacherStats

SCORES_KEPT = 50
"""Candidates per line, the best ones."""


class SkillLearning:
    """Updates the bandit, calls the evolution hook, logs and audits.  ``path``: of ``skills.jsonl``."""

    def __init__(self, config: RunConfig, retriever: Retriever, path: Path, reporter: Reporter) -> None:
        self.config = config
        self.retriever = retriever
        self.reporter = reporter
        evolve, arguments = config.skills.evolve, config.skills.evolve_args
        self.hook: Hook | None = None if evolve == "none" else EVOLVE.bind(evolve, arguments)
        chooses = config.train.steps > 0 and (config.algo.coef > 0 or config.train.with_skill)
        self.log = MetricsWriter(path) if chooses and distributed.is_main() else None
        self._warned: set[tuple[str, ...]] = set()

    def close(self) -> None:
        """Close the log."""
        if self.log is not None:
            self.log.close()

    def files(self) -> dict[str, object]:
        """What a checkpoint must hold, by file name."""
        return {SKILLS_FILE: self.retriever.state()}

    def load(self, checkpoint: Path) -> None:
        """Continue from a checkpoint.  Raises RunConflictError where it does not hold what the run depends on."""
        needed = any(map(self.retriever.learns, self.config.retrievals)) or self.hook is not None
        if not load_skills(self.retriever, checkpoint) and needed:
            raise RunConflictError(
                f"{checkpoint / SKILLS_FILE} is missing",
                why="it holds what the run has learnt about its skills",
                fix="remove this checkpoint to continue from an older one, or start a new run",
            )

    def audit(self, stats: TeacherStats) -> None:
        """Warn, once, that teacher prompts miss their skill or a part of it."""
        problem = stats.problem()
        if problem and ("audit",) not in self._warned:
            self._warned.add(("audit",))
            self.reporter.warn(problem)

    def after_step(self, step: int, episodes: Sequence[Episode], choices: Choices, taught: bool) -> dict[str, float]:
        """Learn from a step's groups, in order; returns metrics.  Gaps and gates must be in the episodes.

        taught: whether the step had a teacher.
        """
        if self.log is not None:
            for number, chosen in sorted(choices.items()):
                played = tuple(e for e in episodes if e.group == number and not e.failed)
                for line in self._lines(step, number, played, chosen, taught, episodes):
                    self.log.write(line)
        self.retriever.load(distributed.from_main(self.retriever.state()))
        if self.hook is None:
            return {}
        return {"skills/dropped": float(sum(map(len, self.retriever.dropped.values())))}

    def _lines(
        self,
        step: int,
        number: int,
        played: tuple[Episode, ...],
        chosen: dict[str, Choice],
        taught: bool,
        episodes: Sequence[Episode],
    ) -> Iterator[dict[str, object]]:
        task = next(e.task for e in episodes if e.group == number)
        reward = sum(e.reward for e in played) / len(played) if played else None
        views = [view.retrieval for view in self.config.views] if taught else []
        own = self.config.skills.retrieval if self.config.train.with_skill else None
        gap, gate = mean_of(played, "token_gap"), mean_of(played, "token_gate")
        first = views[0] if views else own
        for strategy, choice in sorted(chosen.items()):
            changes = []
            if reward is not None:
                if self.retriever.learns(strategy):
                    for skill in choice.skills:
                        self.retriever.bandit.update(task.type, skill.id, reward)
                if strategy == first and self.hook is not None:
                    group = Group(step, played, reward, gap, self.config.skills, self.retriever.memory)
                    changes = self._evolve(task, choice, group)
            ranked = sorted(choice.scores.items(), key=lambda item: (-item[1], item[0]))
            yield {
                "step": step,
                "group": number,
                "task": task.id,
                "type": task.type,
                "strategy": strategy,
                "views": [i for i, each in enumerate(views) if each == strategy],
                "policy": strategy == own,
                "skills": [skill.id for skill in choice.skills],
                "scores": {name: score if math.isfinite(score) else None for name, score in ranked[:SCORES_KEPT]},
                "candidates": len(ranked),
                "episodes": len(played),
                "reward": reward,
                "success": sum(e.won for e in played) / len(played) if played else None,
                "gap": gap if strategy == first else None,
                "gate": gate if strategy == first else None,
                "changes": changes,
            }

    def _evolve(self, task: Task, choice: Choice, group: Group) -> list[dict[str, str]]:
        """Ask the hook, make its changes, report and return them."""
        assert self.hook is not None
        made = []
        given = {skill.id for skill in self.retriever.bank_for(task.type).skills}
        skills = [skill for skill in choice.skills if skill.id in given]  # less what an earlier group had dropped
        for change in self.hook(task, skills, group):
            effect = self.retriever.apply(task.type, change)
            made.append({"skill": change.skill, "effect": effect, "why": change.why})
            subject = f"step {group.step}: skill {change.skill} of {task.type}"
            if effect != "kept":
                self.reporter.info(f"{subject} {effect}: {change.why}")
            elif (task.type, change.skill) not in self._warned:
                self._warned.add((task.type, change.skill))
                self.reporter.warn(f"{subject} is the last of its category and kept, although: {change.why}")
        return made


def audit_summary(metrics: Path) -> dict[str, float | str]:
    """For a run's summary: the least ``teacher/skill_present`` of its steps, and a warning where that is below 1 or a
    skill was cut.  Nothing for a run without teachers."""
    rows = read_metrics(metrics)
    present = [row["teacher/skill_present"] for row in rows if "teacher/skill_present" in row]
    found: dict[str, float | str] = {"skill_present": min(present)} if present else {}
    cut = sum(row.get("teacher/skill_cut", 0) > 0 for row in rows)
    missing = sum(share < 1 for share in present)
    if missing or cut:
        counts = [f"skills missing in {missing}"] if missing else []
        counts += [f"cut in {cut}"] if cut else []
        found["skill_warning"] = f"{' and '.join(counts)} of {len(rows)} steps"
    return found


def mean_of(episodes: Sequence[Episode], name: str) -> float | None:
    """Mean of a record per token over all turns; None where there is none."""
    values = [v for e in episodes for turn in e.turns for v in getattr(turn, name) or () if v is not None]
    return sum(values) / len(values) if values else None
