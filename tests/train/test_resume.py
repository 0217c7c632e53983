"""Stopping a training run and resuming it changes nothing: runs on the corridor that die, or that get Ctrl-C.

The guarantee is bit for bit: the metrics without the clock's, every episode, every evaluation and the final
weights are those of a run that was never stopped.  ``test_resume_cli.py`` does the same with real processes.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import toy

from sdar_cli.base.errors import RunConflictError
from sdar_cli.envs.base import Step
from sdar_cli.runs.checkpoints import latest_checkpoint, list_checkpoints, step_of
from sdar_cli.runs.metrics import read_metrics
from sdar_cli.runs.rundir import RunDir
from sdar_cli.train import trainer as trainer_module
from sdar_cli.train.resume import refuse_other_data
from sdar_cli.train.run import _Run

from .toyruns import SETTINGS, STEPS, TASKS, Crash, assert_same_record, config, play


def in_rollout(step: int) -> Callable[[_Run], None]:
    """Dies while the episodes of a step are played."""

    def prepare(run: _Run) -> None:
        rollout = run._rollout

        def dying(trainer, now):
            if now == step:
                raise Crash
            return rollout(trainer, now)

        run._rollout = dying

    return prepare


def after_the_metrics_line(run: _Run) -> None:
    """Dies when the line of step 2 is on disk and its checkpoint is not."""
    write = run.metrics.write

    def dying(metrics):
        write(metrics)
        if metrics["step"] == 2:
            raise Crash

    run.metrics.write = dying


def within_the_metrics_line(run: _Run) -> None:
    """Dies in the middle of the line of step 2."""
    write = run.metrics.write

    def dying(metrics):
        if metrics["step"] == 2:
            with run.run.metrics.open("ab") as file:
                file.write(b'{"step": 2, "succe')
            raise Crash
        write(metrics)

    run.metrics.write = dying


def before_the_checkpoint_gets_its_name(run: _Run) -> None:
    """Dies when the checkpoint of step 2 is written under its temporary name."""
    after = run._after_step

    def dying(trainer, step, metrics):
        if step == 2:
            trainer_module.publish = refuse
        return after(trainer, step, metrics)

    def refuse(*arguments):
        raise Crash

    run._after_step = dying


def in_the_last_evaluation(run: _Run) -> None:
    """Dies when all steps are done."""
    evaluate = run._evaluate

    def dying(step):
        if step == STEPS:
            raise Crash
        return evaluate(step)

    run._evaluate = dying


CRASHES = {
    "in the first rollout": (in_rollout(1), 0),
    "in a later rollout": (in_rollout(3), 2),
    "after the metrics line": (after_the_metrics_line, 1),
    "within the metrics line": (within_the_metrics_line, 1),
    "before the checkpoint gets its name": (before_the_checkpoint_gets_its_name, 1),
    "in the last evaluation": (in_the_last_evaluation, 3),
}
"""What happens, and the step of the checkpoint that is left."""


def crash_and_resume(name: str, how: Callable, left: int, folder: Path, model, tokenizer) -> None:
    publish = trainer_module.publish
    try:
        with pytest.raises(Crash):
            play(folder, SETTINGS[name], model, tokenizer, prepare=how)
    finally:
        trainer_module.publish = publish
    latest = latest_checkpoint(folder / "checkpoints")
    assert (step_of(latest) if latest else 0) == left
    play(folder, SETTINGS[name], model, tokenizer, resume=True)
    assert not list((folder / "checkpoints").glob("checkpoint-*"))


@pytest.mark.parametrize("crash", CRASHES)
def test_a_run_that_died_is_continued_to_the_same_end(crash: str, whole, walker_model, tokenizer, tmp_path) -> None:
    how, left = CRASHES[crash]
    crash_and_resume("everything", how, left, tmp_path, walker_model, tokenizer)
    assert_same_record(tmp_path, whole("everything"), STEPS)


@pytest.mark.parametrize("name", ["plain", "adapter"])
def test_other_settings_are_continued_to_the_same_end(name: str, whole, walker_model, tokenizer, tmp_path) -> None:
    """The plain method, and an adapter with dropout and a frozen teacher on transcripts."""
    crash_and_resume(name, in_rollout(2), 1, tmp_path, walker_model, tokenizer)
    assert_same_record(tmp_path, whole(name), STEPS)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """The handler of this process is put back, whatever happens."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


class Interrupted(toy.Corridor):
    """The user presses Ctrl-C in the second turn of a training step's rollout."""

    def __init__(self, step: int) -> None:
        super().__init__(TASKS)
        self.at = step
        self.rollouts = 0
        self.turns = 0

    def reset(self, assignment) -> dict[int, Step]:
        """See ``Corridor``."""
        self.rollouts += len(assignment) == 8  # a panel has three tasks
        self.turns = 0
        return super().reset(assignment)

    def step(self, actions) -> dict[int, Step]:
        """See ``Corridor``."""
        self.turns += 1
        if self.rollouts == self.at and self.turns == 2:
            signal.raise_signal(signal.SIGINT)
        return super().step(actions)


def rarely(settings):
    """The same run with a checkpoint at its end only."""
    return settings.model_copy(update={"train": settings.train.model_copy(update={"save_every": 0})})


def test_ctrl_c_in_a_rollout_saves_the_finished_steps(whole, walker_model, tokenizer, tmp_path, ctrl_c) -> None:
    """Nothing of step 3 has reached the weights: step 2 is saved, though no checkpoint was due."""
    settings = rarely(SETTINGS["everything"])
    with pytest.raises(KeyboardInterrupt):
        play(tmp_path, settings, walker_model, tokenizer, environment=Interrupted(3))
    assert [step_of(path) for path in list_checkpoints(tmp_path / "checkpoints")] == [2]
    play(tmp_path, settings, walker_model, tokenizer, resume=True)
    assert_same_record(tmp_path, whole("everything"), STEPS)


def in_evaluation(step: int, happens: Callable[[], None]) -> Callable[[_Run], None]:
    """Something happens while the panel is played after a step."""

    def prepare(run: _Run) -> None:
        evaluate = run._evaluate

        def eventful(now):
            if now == step:
                happens()
            return evaluate(now)

        run._evaluate = eventful

    return prepare


def test_evaluations_on_the_way_are_not_lost(walker_model, tokenizer, tmp_path, ctrl_c) -> None:
    """A run that dies in one makes it up; Ctrl-C in one saves the step, which had no checkpoint yet."""

    def crash() -> None:
        raise Crash

    def press() -> None:
        signal.raise_signal(signal.SIGINT)

    settings = config(train={"eval_every": 1, "save_every": 0, "tasks_per_step": 2}, algo={"coef": 0.0})
    often = settings.model_copy(update={"train": settings.train.model_copy(update={"save_every": 1})})
    play(tmp_path / "whole", settings, walker_model, tokenizer)
    assert len(list((tmp_path / "whole" / "eval").glob("*.json"))) == STEPS + 1

    with pytest.raises(Crash):
        play(tmp_path / "died", often, walker_model, tokenizer, prepare=in_evaluation(2, crash))
    play(tmp_path / "died", often, walker_model, tokenizer, resume=True)
    assert_same_record(tmp_path / "died", tmp_path / "whole", STEPS)

    with pytest.raises(KeyboardInterrupt):
        play(tmp_path / "pressed", settings, walker_model, tokenizer, prepare=in_evaluation(2, press))
    assert [step_of(path) for path in list_checkpoints(tmp_path / "pressed" / "checkpoints")] == [2]
    play(tmp_path / "pressed", settings, walker_model, tokenizer, resume=True)
    assert_same_record(tmp_path / "pressed", tmp_path / "whole", STEPS)


def test_without_the_evaluation_before_the_rest_is_the_same(walker_model, tokenizer, tmp_path, whole) -> None:
    """Also when it is stopped and resumed: nothing of a run depends on having evaluated before it."""

    def crash() -> None:
        raise Crash

    settings = config(eval={"before": False})
    with pytest.raises(Crash):
        play(tmp_path, settings, walker_model, tokenizer, prepare=in_evaluation(STEPS, crash))
    summary = play(tmp_path, settings, walker_model, tokenizer, resume=True)
    assert (summary["success_before"], summary["with_skill_before"]) == (None, None)
    assert summary["success_after"] is not None
    assert [path.name for path in sorted((tmp_path / "eval").glob("*.json"))] == [f"step-{STEPS:06d}.json"]
    for suffix in ("json", "jsonl"):  # which the sweep adds
        name = f"step-000000.{suffix}"
        (tmp_path / "eval" / name).write_text((whole("plain") / "eval" / name).read_text())
    assert_same_record(tmp_path, whole("plain"), STEPS)


def test_more_steps_are_those_of_a_longer_run(whole, walker_model, tokenizer, tmp_path) -> None:
    """A finished run of two steps, raised to three (the schedule is constant)."""
    play(tmp_path, config(train={"steps": 2}), walker_model, tokenizer)
    play(tmp_path, SETTINGS["plain"], walker_model, tokenizer, resume=True)
    for path in (tmp_path / "eval").glob("step-000002*"):
        path.unlink()  # the longer run did not stop there
    assert_same_record(tmp_path, whole("plain"), STEPS)


def in_the_update(presses: int) -> Callable[[_Run], None]:
    """Ctrl-C between two micro-batches of the second update of step 2."""

    def prepare(run: _Run) -> None:
        rollout = run._rollout

        def pressing(trainer, step):
            compute_loss = trainer._compute_loss

            def noisy(*arguments):
                if trainer.state.global_step == 3:
                    trainer._compute_loss = compute_loss
                    for _ in range(presses):
                        signal.raise_signal(signal.SIGINT)
                return compute_loss(*arguments)

            if step == 2:
                trainer._compute_loss = noisy
            return rollout(trainer, step)

        run._rollout = pressing

    return prepare


def test_ctrl_c_in_an_update_finishes_the_step_and_saves_it(whole, walker_model, tokenizer, tmp_path, ctrl_c) -> None:
    settings = rarely(SETTINGS["everything"])
    with pytest.raises(KeyboardInterrupt):
        play(tmp_path, settings, walker_model, tokenizer, prepare=in_the_update(1))
    assert [step_of(path) for path in list_checkpoints(tmp_path / "checkpoints")] == [2]
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]
    play(tmp_path, settings, walker_model, tokenizer, resume=True)
    assert_same_record(tmp_path, whole("everything"), STEPS)


def test_a_second_ctrl_c_stops_at_once_and_saves_no_half_step(whole, walker_model, tokenizer, tmp_path, ctrl_c) -> None:
    """The first of two updates of step 2 is not undone: a checkpoint now would be of no step."""
    settings = rarely(SETTINGS["everything"])
    with pytest.raises(KeyboardInterrupt):
        play(tmp_path, settings, walker_model, tokenizer, prepare=in_the_update(2))
    assert list_checkpoints(tmp_path / "checkpoints") == []
    play(tmp_path, settings, walker_model, tokenizer, resume=True)
    assert_same_record(tmp_path, whole("everything"), STEPS)


def test_the_handler_is_put_back(whole) -> None:
    before = signal.getsignal(signal.SIGINT)
    whole("plain")
    assert signal.getsignal(signal.SIGINT) is before


def test_fewer_steps_than_done_are_refused(whole, walker_model, tokenizer) -> None:
    folder = whole("plain")
    fewer = config(train={"steps": 2})
    with pytest.raises(RunConflictError, match="has 3 steps, more than"):
        play(folder, fewer, walker_model, tokenizer, resume=True)


def test_a_resumed_run_needs_the_same_data(tmp_path: Path) -> None:
    """An edited skill bank or another panel must not continue a run as if nothing had happened."""
    run = RunDir(tmp_path)
    before = {"panel_sha256": "a", "train_tasks_sha256": "b", "skill_bank_sha256": "c", "model_commit": None}
    run.provenance_path.write_text(json.dumps(before))
    refuse_other_data(run, {**before, "model_commit": "known now"})
    with pytest.raises(RunConflictError, match="other data") as refused:
        refuse_other_data(run, {**before, "skill_bank_sha256": "d"})
    assert "skill_bank_sha256: c in the run, d now" in refused.value.why and refused.value.exit_code == 4
