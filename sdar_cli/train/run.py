"""A training run from its configuration: environment, model, evaluation, steps, checkpoints, evaluation."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdar_cli.base import distributed
from sdar_cli.base.errors import ConfigError, RunConflictError, RunFailedError
from sdar_cli.base.seeds import seed_of
from sdar_cli.base.signals import handled
from sdar_cli.config.schema import RunConfig
from sdar_cli.envs.base import Task, group_by_type
from sdar_cli.evaluation.panel import evaluate_panel
from sdar_cli.rollout.collect import Collected, no_skill
from sdar_cli.runs.checkpoints import latest_checkpoint, remove_unfinished, step_of
from sdar_cli.runs.metrics import MetricsWriter

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.rollout.episode import Episode
    from sdar_cli.runs.results import EvaluationReport
    from sdar_cli.runs.rundir import RunDir
    from sdar_cli.session import Session
    from sdar_cli.train.trainer import SDARTrainer, StepData


IDENTITY = ("panel_sha256", "train_tasks_sha256", "skill_bank_sha256", "model_commit", "corpus_sha256")
"""Entries of the provenance that a resumed run must not change."""


def train(config: RunConfig, run: RunDir, reporter: Reporter, resume: bool) -> dict[str, Any]:
    """Run or continue a training run; returns its summary.

    Raises KeyboardInterrupt after saving when the user interrupts, RunFailedError when too many episodes
    break, and PrerequisiteError or ConfigError before anything is trained.
    """
    from sdar_cli.session import open_session

    if distributed.world() > config.train.tasks_per_step:
        raise ConfigError(
            f"{distributed.world()} processes share {config.train.tasks_per_step} groups of a step: "
            "some would have none",
            fix=f"--nproc_per_node {config.train.tasks_per_step} or fewer, or raise train.tasks_per_step",
        )
    began = time.monotonic()
    start = _starting_point(run, config, resume)
    with open_session(config, reporter) as session:
        identity = session.provenance()
        if resume:
            _refuse_other_data(run, identity)
        if distributed.is_main():
            run.update_provenance(**identity, processes=distributed.world())
        running = _Run(config, run, reporter, session, start)
        try:
            summary = running.execute()
        finally:
            running.close()
    return {**summary, "seconds": round(time.monotonic() - began, 1)}


def _starting_point(run: RunDir, config: RunConfig, resume: bool) -> Path | None:
    """The checkpoint to continue from; everything recorded after it is removed."""
    if not resume:
        return None
    with distributed.main_first():
        if distributed.is_main():
            remove_unfinished(run.checkpoints)
        start = latest_checkpoint(run.checkpoints)
        step = step_of(start) if start else 0
        if step > config.train.steps:
            raise RunConflictError(f"the run has {step} steps, more than train.steps={config.train.steps}")
        if distributed.is_main():
            _forget_after(run, step)
    return start


def _forget_after(run: RunDir, step: int) -> None:
    """Remove what was recorded after a step."""
    for path in (run.metrics, run.skills):
        if path.exists():
            MetricsWriter(path).truncate_after(step)
    for path in [*run.episodes.glob("step-*.jsonl"), *run.eval.glob("step-*")]:
        if int(path.name.split("-")[1].split(".")[0]) > step:
            path.unlink()


def _refuse_other_data(run: RunDir, now: dict[str, Any]) -> None:
    """A resumed run must go on with the same tasks, skills and model.  Raises RunConflictError naming what differs."""
    before = run.provenance()
    changed = [key for key in IDENTITY if before.get(key) not in (None, now.get(key))]
    if changed:
        listed = "".join(f"\n  - {key}: {before[key]} in the run, {now.get(key)} now" for key in changed)
        raise RunConflictError(
            f"run {run.name} was started with other data", why=listed, fix="restore them, or start a new run"
        )


class _Run:
    """The state of one run while it is executed."""

    def __init__(
        self, config: RunConfig, run: RunDir, reporter: Reporter, session: Session, start: Path | None
    ) -> None:
        from sdar_cli.train.skills import SkillLearning
        from sdar_cli.train.teacher import TeacherPrompts

        self.config = config
        self.run = run
        self.reporter = reporter
        self.session = session
        self.start = start
        self.first_step = step_of(start) if start else 0
        self.metrics = MetricsWriter(run.metrics) if distributed.is_main() else None
        self.teacher = TeacherPrompts(config, session.retriever, session.tokenizer)
        self.learning = SkillLearning(config, session.retriever, run.skills, reporter)
        self.episodes: list[Episode] = []
        """Those of the present step."""
        self.stopping = False
        self.in_rollout = False
        self.saved = self.first_step
        self.began = 0.0

    def close(self) -> None:
        """Close the files written to."""
        if self.metrics:
            self.metrics.close()
        self.learning.close()

    def execute(self) -> dict[str, Any]:
        """Evaluate, train, evaluate."""
        import torch

        from sdar_cli.train.trainer import SDARTrainer

        session, config = self.session, self.config
        torch.manual_seed(config.seed)  # the initial LoRA adapters
        trainer = SDARTrainer(
            config,
            session.model,
            session.tokenizer,
            self.run.checkpoints,
            self._rollout,
            self._after_step,
            peft_config=session.peft_config(),
        )
        session.adopt(trainer.model, trainer.generating)
        if self.start:
            trainer.resume_from(self.start)
            self.learning.load(self.start)
        before = self._evaluate(0) if config.eval.before and not self.start else self._recorded(0)
        if config.train.steps == 0:
            return self._summary(before, None)
        if self.start and self._evaluation_due(self.first_step) and not self._recorded(self.first_step):
            trainer.load_weights(self.start)  # the run was interrupted before it
            self._evaluate(self.first_step)
        self.began = time.monotonic()
        with _interrupts(self):
            try:
                if self.start and self.first_step == config.train.steps:
                    trainer.load_weights(self.start)  # only the evaluation is missing; ``train`` would go on
                else:
                    trainer.train(resume_from_checkpoint=str(self.start) if self.start else None)
            except KeyboardInterrupt:
                self._save_interrupted(trainer)
                raise
        if self.stopping:
            self.reporter.info(f"saved the checkpoint of step {self.saved}")
            raise KeyboardInterrupt
        after = self._evaluate(config.train.steps)
        return self._summary(before, after)

    def _rollout(self, trainer: SDARTrainer, step: int) -> StepData:
        """Play the groups of a step and make its rows."""
        from sdar_cli.models.engine import Sampling
        from sdar_cli.train.rows import assign_advantages, assign_weights, build_rows
        from sdar_cli.train.trainer import StepData

        config = self.config
        tasks = tasks_of_step(self.session.train_tasks, step, config.train.tasks_per_step, config.seed)
        groups = distributed.share(list(enumerate(tasks)))
        assignment = [(task, g) for g, task in groups for _ in range(config.train.group_size)]
        sampling = Sampling(config.model.max_response_tokens, config.model.temperature)
        self.in_rollout = True
        mine = self.session.collector.collect(
            assignment,
            sampling,
            seed_of(config.seed, "rollout", step, *distributed.salt()),
            partial(self.session.skill_for, step=step) if config.train.with_skill else no_skill,
            self._check_interrupt,
        )
        out = merge_collected(distributed.gather(mine))
        self.in_rollout = False
        self._refuse_broken(out)
        rows = build_rows(out.episodes, config.env.context)
        assign_advantages(rows, out.episodes, config.algo)
        normaliser = assign_weights(rows, config.algo.agg)
        data = StepData(rows, normaliser, {"step": step, **rollout_metrics(out)})
        if trainer.coef > 0:
            stats = self.teacher.fill(rows, out.episodes, step)
            data.metrics.update(stats.metrics())
            self._show_teacher(step)
            self.learning.audit(stats)
        else:
            self.teacher.choose(out.episodes, step, taught=False)
        self.episodes = out.episodes
        return data

    def _refuse_broken(self, out: Collected) -> None:
        failed = [e for e in out.episodes if e.failed]
        for episode in failed[:1]:
            self.reporter.warn(f"{len(failed)} of {len(out.episodes)} episodes failed, first: {episode.failure}")
        if len(failed) > self.config.env.max_failed * len(out.episodes) or len(failed) == len(out.episodes):
            raise RunFailedError(
                f"{len(failed)} of {len(out.episodes)} episodes of a step failed",
                why=f"the first: {failed[0].failure}",
                fix="mend the environment and continue with --resume, or raise --set env.max_failed",
            )

    def _show_teacher(self, step: int) -> None:
        example = self.teacher.example
        if step == self.first_step + 1 and example is not None:
            cut = f"cut: {', '.join(example.cut)} ({example.cut_tokens} tokens)" if example.cut else "nothing cut"
            title = f"teacher prompt, {len(example.ids)} tokens, {example.skill_tokens} of them the skill, {cut}"
            self.reporter.panel(title, example.text)
            if not example.skill_present and self.config.teacher.weights == "live":
                self.reporter.warn("this teacher prompt holds no skill: the teacher equals the student here")

    def _after_step(self, trainer: SDARTrainer, step: int, metrics: dict[str, Any]) -> bool:
        from sdar_cli.train.tokens import note_tokens, turn_metrics

        left = self.config.train.steps - step
        pace = (time.monotonic() - self.began) / (step - self.first_step)
        metrics["eta_s"] = round(pace * left, 1)
        trainer.share_tokens()
        metrics |= turn_metrics(trainer.rows)
        note_tokens(trainer.rows, self.episodes)
        metrics |= self.learning.after_step(step, self.episodes, self.teacher.choices, trainer.coef > 0)
        if distributed.is_main():
            lines = "".join(json.dumps(e.record().to_json(), ensure_ascii=False) + "\n" for e in self.episodes)
            (self.run.episodes / f"step-{step:06d}.jsonl").write_text(lines, encoding="utf-8")
        if self.metrics:
            self.metrics.write(metrics)
        self.reporter.step(metrics)
        self.stopping = any(distributed.gather(self.stopping))
        every = self.config.train.save_every
        # before the checkpoint: a run that dies in between repeats the step and its evaluation
        if self._evaluation_due(step) and not self.stopping:
            self._evaluate(step)
        if self.stopping or left == 0 or (every and step % every == 0):
            trainer.save_step(step, self.learning.files())
            self.saved = step
        return self.stopping

    def _evaluation_due(self, step: int) -> bool:
        """Whether the panel is played after this step, apart from the last one's."""
        every = self.config.train.eval_every
        return bool(every) and 0 < step < self.config.train.steps and step % every == 0

    def _check_interrupt(self, finished: int) -> None:
        if self.stopping and distributed.world() == 1:  # else at the end of the step, all together
            raise KeyboardInterrupt

    def _save_interrupted(self, trainer: SDARTrainer) -> None:
        """Between steps the weights are those of the last finished step: save it if it is not saved yet."""
        step = trainer.state.global_step // trainer.updates
        if self.in_rollout and step > self.saved:
            trainer.save_step(step, self.learning.files())
            self.saved = step
        self.reporter.info(f"the last checkpoint is that of step {self.saved}")

    def _evaluate(self, step: int) -> EvaluationReport:
        return evaluate_panel(
            self.session,
            self.run if distributed.is_main() else None,
            self.run.evaluation_path(step).stem,
            f"held-out panel after step {step}" if step else "held-out panel before",
        )

    def _recorded(self, step: int) -> EvaluationReport | None:
        return self.run.evaluation(step)

    def _summary(self, before: EvaluationReport | None, after: EvaluationReport | None) -> dict[str, Any]:
        from sdar_cli.train.skills import audit_summary

        def success(report: EvaluationReport | None, with_skill: bool) -> float | None:
            found = report.result(with_skill) if report else None
            return found.overall.success if found else None

        return {
            "run": str(self.run.path),
            "steps": self.config.train.steps,
            "panel_sha256": self.session.panel.sha256,
            "success_before": success(before, False),
            "success_after": success(after, False),
            "with_skill_before": success(before, True),
            "with_skill_after": success(after, True),
            **audit_summary(self.run.metrics),
            "checkpoint": str(latest_checkpoint(self.run.checkpoints) or "none"),
        }


def tasks_of_step(tasks: Sequence[Task], step: int, count: int, seed: int) -> list[Task]:
    """The tasks of a step (from 1): a permutation per epoch without replacement, types in turn.

    A pure function of (tasks, step, count, seed): resuming needs no state.  An epoch's order interleaves the
    task types, each shuffled, so that a step has as many types as it can.
    """
    first = (step - 1) * count
    chosen: list[Task] = []
    order: list[Task] = []
    epoch = -1
    for position in range(first, first + count):
        if position // len(tasks) != epoch:
            epoch = position // len(tasks)
            order = epoch_order(tasks, seed_of(seed, "tasks", epoch))
        chosen.append(order[position % len(tasks)])
    return chosen


def epoch_order(tasks: Sequence[Task], seed: int) -> list[Task]:
    """Every task once, the types spread evenly."""
    rng = random.Random(seed)
    placed: list[tuple[float, str, Task]] = []
    for kind, members in group_by_type(tasks).items():
        shuffled = sorted(members, key=lambda t: t.id)
        rng.shuffle(shuffled)
        placed += [((i + 0.5) / len(shuffled), kind, task) for i, task in enumerate(shuffled)]
    return [task for _, _, task in sorted(placed, key=lambda item: item[:2])]


def rollout_metrics(out: Collected) -> dict[str, Any]:
    """Metrics of the episodes of a step.  Failed episodes are counted apart and in no mean."""
    episodes = [e for e in out.episodes if not e.failed]
    turns = [turn for e in episodes for turn in e.turns]
    n, m = max(1, len(episodes)), max(1, len(turns))
    last = out.episodes[-1]
    return {
        "success": sum(e.won for e in episodes) / n,
        "reward": sum(e.reward for e in episodes) / n,
        "mixed_group_ratio": _mixed(episodes),
        "turns": sum(len(e.turns) for e in episodes) / n,
        "invalid_ratio": sum(not t.valid for t in turns) / m,
        "inadmissible_ratio": sum(not t.admissible for t in turns) / m,
        "truncations": sum(t.truncated_response for t in turns) + out.cut_prompts,
        "failed_episodes": len(out.episodes) - len(episodes),
        "rows_tokens": sum(len(t.response_ids) for t in turns),
        "tokens_generated": out.tokens_generated,
        "tokens_per_s": out.tokens_generated / max(out.seconds_generate, 1e-9),
        "seconds_env": out.seconds_env,
        "seconds_generate": out.seconds_generate,
        "last_episode": f"{last.task.type}: {'won' if last.won else last.stop.value if last.stop else '?'} "
        f"in {len(last.turns)}",
    }


def _mixed(episodes: Sequence[Episode]) -> float:
    """The share of groups whose rewards differ: in the others every advantage of the outcome is zero."""
    groups: dict[int, set[float]] = {}
    for episode in episodes:
        groups.setdefault(episode.group, set()).add(episode.reward)
    return sum(len(rewards) > 1 for rewards in groups.values()) / max(1, len(groups))


def merge_collected(parts: Sequence[Collected]) -> Collected:
    """The episodes of all processes in the order of their groups, numbered anew; seconds are the slowest's."""
    if len(parts) == 1:
        return parts[0]
    episodes = sorted((e for part in parts for e in part.episodes), key=lambda e: (e.group, e.index))
    for index, episode in enumerate(episodes):
        episode.index = index
    return Collected(
        episodes,
        seconds_env=max(part.seconds_env for part in parts),
        seconds_generate=max(part.seconds_generate for part in parts),
        tokens_generated=sum(part.tokens_generated for part in parts),
        cut_prompts=sum(part.cut_prompts for part in parts),
    )


@contextmanager
def _interrupts(run: _Run) -> Iterator[None]:
    """First Ctrl-C: stop at the next safe point and save.  Second: stop at once."""

    def handler(signum: int, frame: Any) -> None:
        if run.stopping:
            raise KeyboardInterrupt
        run.stopping = True
        run.reporter.info("stopping: saving at the next safe point; press Ctrl-C again to stop at once")

    with handled(handler, signal.SIGINT):
        yield
