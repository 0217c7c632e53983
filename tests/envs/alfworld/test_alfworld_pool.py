"""Episodes on worker processes: results, failures, and an end without leftovers."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import ROOT

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.envs.alfworld.engine import pool
from sdar_cli.envs.alfworld.engine.pool import WorkerPool
from sdar_cli.envs.alfworld.env import AlfworldEnvironment
from sdar_cli.envs.alfworld.games import games
from sdar_cli.envs.alfworld.games.replay import replay_walkthroughs
from sdar_cli.envs.base import Step, Task

TURNS = 6


def play(environment: AlfworldEnvironment, assignment: dict[int, Task]) -> list[dict[int, Step]]:
    """A few turns; slot and turn choose among the admissible commands."""
    steps = environment.reset(assignment)
    seen = [dict(steps)]
    for turn in range(TURNS):
        commands = {
            slot: step.observation.admissible[(7 * slot + 3 * turn) % len(step.observation.admissible)]
            for slot, step in steps.items()
            if not step.done
        }
        steps |= environment.step(commands)
        seen.append(dict(steps))
    return seen


def plan(environment: AlfworldEnvironment, task: Task) -> list[str]:
    return games.walkthrough(games.game_file(environment.root, task))


def process_of(environment: AlfworldEnvironment, slot: int) -> int:
    workers = environment._pool
    pid = workers._workers[workers._place[slot]].process.pid
    assert pid is not None
    return pid


def test_two_workers_give_the_results_of_one(environment: AlfworldEnvironment, made_root: Path) -> None:
    tasks = environment.tasks("train")
    assignment = {slot: tasks[slot // 2] for slot in range(8)}
    with AlfworldEnvironment(made_root, workers=1) as single:
        assert play(single, assignment) == play(environment, assignment)
    assert len(environment._pool._workers) == 2


def test_slots_of_a_task_share_a_worker_and_load_is_even(environment: AlfworldEnvironment) -> None:
    tasks = environment.tasks("train")
    environment.reset({slot: tasks[slot % 4] for slot in range(8)})
    place = environment._pool._place
    assert all(place[slot] == place[slot + 4] for slot in range(4))
    assert sorted(place.values()) == [0] * 4 + [1] * 4


def test_observation_goal_and_inadmissible_command(environment: AlfworldEnvironment) -> None:
    task = environment.tasks("train")[0]
    start = environment.reset({3: task})[3]
    assert start.observation.text.startswith("-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room.")
    assert f"Your task is to: {start.observation.goal}" in start.observation.text
    assert start.observation.admissible == tuple(sorted(set(start.observation.admissible)))
    assert (start.reward, start.done, start.won, start.failure) == (0.0, False, False, None)
    after = environment.step({3: "dance"})[3]
    assert after.observation.text == "Nothing happens."
    assert after.observation.admissible == start.observation.admissible
    assert after.observation.goal == start.observation.goal != ""


def test_a_won_slot_is_frozen_and_others_continue(environment: AlfworldEnvironment) -> None:
    task = environment.tasks("train")[0]
    environment.reset({0: task, 1: task})
    for command in plan(environment, task):
        last = environment.step({0: command})[0]
    assert last.won and last.done and last.reward == 1.0
    with pytest.raises(ValueError, match=r"slots \[0\]"):
        environment.step({0: "look", 1: "look"})
    assert environment.step({1: "look"})[1].observation.text.startswith("You are in the middle of a room.")
    with pytest.raises(ValueError, match=r"slots \[99\]"):
        environment.step({99: "look"})
    assert not environment.reset({0: task})[0].done


def test_walkthroughs_win(environment: AlfworldEnvironment, tmp_path: Path) -> None:
    tasks = environment.tasks("train")
    progress: list[int] = []
    assert replay_walkthroughs(environment, tasks, progress.append) == {}
    assert progress == [6]


def test_wrong_walkthroughs_are_named(made_root: Path, tmp_path: Path, environment: AlfworldEnvironment) -> None:
    task = environment.tasks("train")[0]
    game = games.read_game(games.game_file(made_root, task))
    for number, steps in enumerate(([], ["dance"], ["look"])):
        folder = tmp_path / "json_2.1.1" / "train" / f"{task.type}-{number}" / "trial"
        folder.mkdir(parents=True)
        (folder / "game.tw-pddl").write_text(json.dumps(game | {"walkthrough": steps}))
    with AlfworldEnvironment(tmp_path) as other:
        wrong = list(replay_walkthroughs(other, other.tasks("train")).values())
    assert "no walkthrough" in wrong[0] and "'dance', is not admissible" in wrong[1] and "without winning" in wrong[2]


def test_a_killed_worker_fails_its_episodes_only(environment: AlfworldEnvironment) -> None:
    tasks = environment.tasks("train")
    start = environment.reset({0: tasks[0], 1: tasks[1], 2: tasks[0]})
    os.kill(process_of(environment, 0), signal.SIGKILL)
    steps = environment.step({0: "look", 1: "look"})
    assert steps[0].failure is not None and "exit code -9" in steps[0].failure
    assert (steps[0].done, steps[0].won, steps[0].reward) == (True, False, 0.0)
    assert steps[0].observation == start[0].observation
    assert steps[1].failure is None and not steps[1].done
    # Slot 2 was not named in that turn, but its game is gone with the worker.
    assert "another episode" in (environment.step({2: "look"})[2].failure or "")
    again = environment.reset({0: tasks[0], 2: tasks[0]})
    assert again[0].failure is None and again[0] == again[2] == start[0]
    assert environment.step({1: "look"})[1].failure is None


def test_a_hung_worker_is_replaced(environment: AlfworldEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = environment.tasks("train")
    environment.reset({0: tasks[0], 1: tasks[1]})
    hung = process_of(environment, 1)
    os.kill(hung, signal.SIGSTOP)
    monkeypatch.setattr(environment._pool, "timeout", 3.0)
    steps = environment.step({0: "look", 1: "look"})
    assert steps[0].failure is None
    assert steps[1].failure is not None and "no answer within 3 s" in steps[1].failure
    monkeypatch.undo()
    assert environment.reset({1: tasks[1]})[1].failure is None
    assert process_of(environment, 1) != hung


@pytest.mark.parametrize(
    ("key", "before", "after", "message"),
    [
        ("grammar", "action help", "acti@n help", "Failed"),
        ("pddl_problem", "(atLocation agent1", "(atLocation agent2", "agent2"),
        ("pddl_problem", "(:goal", "(:gaol", "AssertionError"),
    ],
)
def test_what_only_the_engine_finds_fails_the_episode(
    made_root: Path, tmp_path: Path, key: str, before: str, after: str, message: str
) -> None:
    source = games.list_tasks(made_root, "train")[0]
    game = games.read_game(games.game_file(made_root, source))
    assert before in game[key]
    for name, text in (("good", game[key]), ("spoiled", game[key].replace(before, after))):
        folder = tmp_path / "json_2.1.1" / "train" / f"{source.type}-{name}" / "trial"
        folder.mkdir(parents=True)
        (folder / "game.tw-pddl").write_text(json.dumps(game | {key: text}))
    with AlfworldEnvironment(tmp_path) as environment:
        good, spoiled = environment.tasks("train")
        steps = environment.reset({0: spoiled, 1: good})
        assert steps[0].done and steps[0].failure is not None
        assert spoiled.id in steps[0].failure and message in steps[0].failure
        assert steps[1].failure is None
        assert environment.reset({0: good})[0] == steps[1]


def test_a_worker_that_cannot_start_is_a_missing_prerequisite(monkeypatch: pytest.MonkeyPatch, made_root: Path) -> None:
    task = games.list_tasks(made_root, "train")[0]
    monkeypatch.setattr(pool.Worker, "__init__", _worker_that_exits)
    with pytest.raises(PrerequisiteError, match="does not start") as caught:
        WorkerPool(1, 5.0).start({0: games.game_file(made_root, task)})
    assert "ended while it started" in caught.value.why and "pip install" in caught.value.fix


def _worker_that_exits(worker: pool.Worker) -> None:
    context = multiprocessing.get_context("spawn")
    worker.connection, theirs = context.Pipe()
    worker.process = context.Process(target=time.sleep, args=(0,))
    worker.process.start()
    theirs.close()


def test_the_main_process_never_imports_the_engine(made_root: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from sdar_cli.envs.alfworld.env import AlfworldEnvironment
if __name__ == "__main__":
    with AlfworldEnvironment(Path({str(made_root)!r})) as environment:
        task = environment.tasks("train")[0]
        print(environment.reset({{0: task}})[0].observation.goal)
    heavy = {{"textworld", "fast_downward", "tatsu", "torch", "numpy"}} & set(sys.modules)
    assert not heavy, heavy
"""
    script = made_root.parent / "main.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_workers_end_with_their_parent_and_ignore_interrupts(made_root: Path) -> None:
    code = f"""
import os, signal, sys, time
from pathlib import Path
from sdar_cli.envs.alfworld.env import AlfworldEnvironment
if __name__ == "__main__":
    environment = AlfworldEnvironment(Path({str(made_root)!r}))
    environment.reset({{0: environment.tasks("train")[0]}})
    pid = environment._pool._workers[0].process.pid
    os.kill(pid, signal.SIGINT)
    assert environment.step({{0: "look"}})[0].failure is None
    print(pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    script = made_root.parent / "parent.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    status = Path(f"/proc/{done.stdout.strip()}/stat")
    for _ in range(100):
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the worker outlived its parent")


def test_an_interrupt_leaves_no_process(made_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with AlfworldEnvironment(made_root) as environment:
        task = environment.tasks("train")[0]
        environment.reset({0: task})
        pid = process_of(environment, 0)
        with monkeypatch.context() as patch:
            patch.setattr(pool, "wait", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                environment.step({0: "look"})
        assert pid not in {child.pid for child in multiprocessing.active_children()}
        assert environment.reset({0: task})[0].failure is None
        pid = process_of(environment, 0)
    assert pid not in {child.pid for child in multiprocessing.active_children()}


def test_no_slot_waits_for_another_workers(environment: AlfworldEnvironment) -> None:
    """Actions go out as they come; a worker that is busy takes what came meanwhile in one message."""
    tasks = environment.tasks("train")
    environment.reset({slot: tasks[slot % 2] for slot in range(6)})
    stopped = process_of(environment, 1)
    os.kill(stopped, signal.SIGSTOP)
    try:
        for slot in range(6):
            environment.send({slot: "look"})
        seen: set[int] = set()
        while len(seen) < 3:
            seen |= set(environment.ready(30.0))
        assert seen == {0, 2, 4}
        assert environment.ready(0) == {} == environment.ready(0.01)
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert environment._pool._workers[environment._pool._place[1]].waiting[0].commands == {3: "look", 5: "look"}
    first, rest = environment.ready(None), environment.ready(None)
    assert (set(first), set(rest)) == ({1}, {3, 5})
    assert environment.ready(None) == {}


def test_an_answer_that_nobody_waited_for_is_not_taken_for_a_new_games(environment: AlfworldEnvironment) -> None:
    tasks = environment.tasks("train")
    start = environment.reset({0: tasks[0]})
    environment.send({0: "inventory"})
    assert environment.reset({0: tasks[0]}) == start
    assert environment.ready(None) == {}
