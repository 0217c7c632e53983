"""A training run from its configuration: environment, model, evaluation, steps, checkpoints, evaluation."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdar_cli.base import distributed
from sdar_cli.base.errors import ConfigError, NotFiniteError
from sdar_cli.base.signals import handled
from sdar_cli.config.schema import RunConfig
from sdar_cli.evaluation.panel import evaluate_panel
from sdar_cli.rollout.step import Metrics, play_step
from sdar_cli.runs.checkpoints import latest_checkpoint, step_of
from sdar_cli.runs.collapse import CollapseWatch, success_sign
from sdar_cli.runs.metrics import read_metrics
from sdar_cli.runs.sinks import Recorder
from sdar_cli.train.resume import forget_after, refuse_other_data, starting_point

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.rollout.episode import Episode
    from sdar_cli.runs.results import EvaluationReport
    from sdar_cli.runs.rundir import RunDir
    from sdar_cli.session import Session
    from sdar_cli.train.trainer import SDARTrainer, StepData


Summary = dict[str, float | str | None]
"""What is shown of a finished run; None for an evaluation that was not made."""


def train(config: RunConfig, run: RunDir, reporter: Reporter, resume: bool) -> Summary:
    """Run or continue a training run; returns its summary.

    Raises KeyboardInterrupt after saving when the user interrupts, RunFailedError when too many episodes
    break, and PrerequisiteError or ConfigError before anything is trained.
    """
    from sdar_cli.session import open_session

    if distributed.world_size() > config.train.tasks_per_step:
        raise ConfigError(
            f"{distributed.world_size()} processes share {config.train.tasks_per_step} groups of a step: "
            "some would have none",
            fix=f"--nproc_per_node {config.train.tasks_per_step} or fewer, or raise train.tasks_per_step",
        )
    began = time.monotonic()
    start = starting_point(run, config, resume, reporter)
    with open_session(config, reporter) as session:
        identity = session.provenance()
        if resume:
            refuse_other_data(run, identity)
            with distributed.main_first():
                if distributed.is_main():
                    forget_after(run, step_of(start) if start else 0)
        if distributed.is_main():
            run.update_provenance(**identity, processes=distributed.world_size())
        running = _Run(config, run, reporter, session, start)
        try:
            summary = running.execute()
        finally:
            running.close()
    return {**summary, "seconds": round(time.monotonic() - began, 1)}


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
        self.metrics = Recorder(run.metrics, config.train, reporter) if distributed.is_main() else None
        self.teacher = TeacherPrompts(config, session.retriever, session.tokenizer)
        self.learning = SkillLearning(config, session.retriever, run.skills, reporter)
        self.episodes: list[Episode] = []
        """Those of the present step."""
        self.collapse = CollapseWatch(read_metrics(run.metrics))
        self.at = "before the first step"
        """Where the run is, for errors."""
        self.stopping = False
        self.in_rollout = False
        self.saved = self.first_step
        self.pushed: int | None = None
        """The version of the weights that the engine was given last; None where it must be given them again."""
        self.began = 0.0

    def close(self) -> None:
        """Close the files written to."""
        if self.metrics:
            self.metrics.close()
        self.learning.close()

    def execute(self) -> Summary:
        """Evaluate, train, evaluate.

        Raises NotFiniteError, with the last good checkpoint, where loss, gradient or weights are not finite.
        """
        try:
            return self._execute()
        except NotFiniteError as error:
            kept = latest_checkpoint(self.run.checkpoints)
            fix = "a new run with a smaller --set train.lr, or --set train.on_nonfinite=skip"
            good = f"the last good checkpoint is {kept}" if kept else "no checkpoint was saved before it"
            what = error.what if "step" in error.what else f"{self.at}: {error.what}"
            raise NotFiniteError(what, why=f"{error.why}; {good}", fix=fix) from error

    def _execute(self) -> Summary:
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
            warn=self.reporter.warn,
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
        self._train(trainer)
        after = self._evaluate(config.train.steps)
        return self._summary(before, after)

    def _train(self, trainer: SDARTrainer) -> None:
        """Make the steps that are left.  Raises KeyboardInterrupt after saving when the user interrupts."""
        self.began = time.monotonic()
        with _interrupts(self):
            try:
                if self.start and self.first_step == self.config.train.steps:
                    trainer.load_weights(self.start)  # only the evaluation is missing; ``train`` would make an update
                else:
                    trainer.train(resume_from_checkpoint=str(self.start) if self.start else None)
            except KeyboardInterrupt:
                self._save_interrupted(trainer)
                raise
        if self.stopping:
            self.reporter.info(f"saved the checkpoint of step {self.saved}")
            raise KeyboardInterrupt

    def _rollout(self, trainer: SDARTrainer, step: int) -> StepData:
        """Play the groups of a step and make its samples, with the teacher's prompts where it has a teacher."""
        from sdar_cli.train.trainer import StepData

        self.in_rollout, self.at = True, f"step {step}"
        pushed = self._refresh(trainer.state.global_step)
        played = play_step(
            self.session.collector,
            self.session.train_tasks,
            step,
            partial(self.session.skill_for, step=step),
            self.reporter.warn,
            self._check_interrupt,
        )
        self.in_rollout = False
        self.session.collector.engine.sleep()
        self.pushed = None
        self.episodes = played.episodes
        samples, metrics = played.samples, {"step": step, **played.metrics, "seconds_push": pushed}
        if trainer.coef > 0:
            samples, stats = self.teacher.add_prompts(samples, played.episodes, step)
            metrics |= stats.metrics()
            self._show_teacher(step)
            self.learning.audit(stats)
        else:
            self.teacher.choose(played.episodes, step, taught=False)
        return StepData(samples, played.normaliser, metrics)

    def _refresh(self, version: int) -> float:
        """Let the engine sample with the present weights, those of so many updates; returns the seconds it took."""
        began = time.perf_counter()
        if self.pushed != version:
            self.session.push(version)
            self.pushed = version
        return time.perf_counter() - began

    def _show_teacher(self, step: int) -> None:
        example = self.teacher.example
        if step == self.first_step + 1 and example is not None:
            cut = f"cut: {', '.join(example.cut)} ({example.cut_tokens} tokens)" if example.cut else "nothing cut"
            title = f"teacher prompt, {len(example.ids)} tokens, {example.skill_tokens} of them the skill, {cut}"
            self.reporter.panel(title, example.text)
            if not example.skill_present and self.config.teacher.weights == "live":
                self.reporter.warn("this teacher prompt holds no skill: the teacher equals the student here")

    def _after_step(self, trainer: SDARTrainer, step: int, metrics: Metrics) -> bool:
        from sdar_cli.train.mismatch import gap_metrics
        from sdar_cli.train.tokens import note_tokens, turn_metrics

        left = self.config.train.steps - step
        pace = (time.monotonic() - self.began) / (step - self.first_step)
        metrics["eta_s"] = round(pace * left, 1)
        records = trainer.token_records()
        metrics |= turn_metrics(records)
        metrics |= gap_metrics(records, self.config.algo.tis_cap)
        note_tokens(records, self.episodes)
        metrics |= self.learning.after_step(step, self.episodes, self.teacher.choices, trainer.coef > 0)
        if distributed.is_main():
            lines = "".join(json.dumps(e.record().to_json(), ensure_ascii=False) + "\n" for e in self.episodes)
            (self.run.episodes / f"step-{step:06d}.jsonl").write_text(lines, encoding="utf-8")
        if self.metrics:
            self.metrics.write(metrics)
        self.reporter.step(metrics)
        for sign in self.collapse.new(metrics):
            self.reporter.warn(sign)
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
        if self.stopping and distributed.world_size() == 1:  # else at the end of the step, all together
            raise KeyboardInterrupt

    def _save_interrupted(self, trainer: SDARTrainer) -> None:
        """Between steps the weights are those of the last finished step: save it if it is not saved yet."""
        step = trainer.state.global_step // trainer.updates
        if self.in_rollout and step > self.saved:
            trainer.save_step(step, self.learning.files())
            self.saved = step
        self.reporter.info(f"the last checkpoint is that of step {self.saved}")

    def _evaluate(self, step: int) -> EvaluationReport:
        self.at = f"evaluation after step {step}"
        self._refresh(step * self.config.train.updates_per_step)
        return evaluate_panel(
            self.session,
            self.run if distributed.is_main() else None,
            self.run.evaluation_path(step).stem,
            f"held-out panel after step {step}" if step else "held-out panel before",
        )

    def _recorded(self, step: int) -> EvaluationReport | None:
        return self.run.evaluation(step)

    def _summary(self, before: EvaluationReport | None, after: EvaluationReport | None) -> Summary:
        from sdar_cli.train.skills import audit_summary

        def success(report: EvaluationReport | None, with_skill: bool) -> float | None:
            found = report.result(with_skill) if report else None
            return found.overall.success if found else None

        signs = [*self.collapse.said.values()]
        for with_skill, what in ((False, "without the skill"), (True, "with the skill")):
            sign = success_sign(success(before, with_skill), success(after, with_skill), what)
            if sign is not None:
                signs.append(sign)
                self.reporter.warn(sign)
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
            **({"warning": "; ".join(signs)} if signs else {}),
        }


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
