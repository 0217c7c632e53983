"""A sweep before it starts: order, seeds, the shared evaluation, and all mistakes reported at once."""

from __future__ import annotations

from typing import Any

import pytest

from sdar_cli.base.errors import ConfigError
from sdar_cli.config.merge import flatten
from sdar_cli.sweep.grid import list_sweeps
from sdar_cli.sweep.plan import Request, make_plan, with_more_seeds


def problem(**given: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        make_plan(Request(**given))
    return caught.value.render()


@pytest.mark.parametrize("name", list_sweeps())
def test_every_shipped_sweep_is_valid(name: str) -> None:
    plan = make_plan(Request(name))
    trained = [job for job in plan.jobs if job.point is not None]
    untrained = [point for point in plan.points if point.label not in {job.point for job in trained}]
    assert [point.label for point in untrained] == (["skill-prompt"] if name == "method" else [])
    assert len(trained) == (len(plan.points) - len(untrained)) * len(plan.seeds)
    assert set(plan.configs) == {job.run for job in plan.jobs}


def test_seeds_come_before_points_and_the_evaluation_before_all() -> None:
    plan = make_plan(Request("beta", values="0,5", seeds=2))
    assert [(job.run, job.seed) for job in plan.jobs] == [
        ("untrained", 0), ("gate-beta-0-s0", 0), ("gate-beta-5-s0", 0), ("gate-beta-0-s1", 1), ("gate-beta-5-s1", 1),
    ]  # fmt: skip
    config = plan.configs["gate-beta-5-s1"]
    assert (config.name, config.seed, config.algo.gate_beta, config.eval.before) == ("gate-beta-5-s1", 1, 5.0, False)
    base = plan.configs["untrained"]
    assert (base.train.steps, base.eval.before, base.algo.coef, base.method) == (0, True, 0.0, "untrained")


def test_points_differ_from_a_plain_run_in_what_they_vary_and_nothing_else() -> None:
    from sdar_cli.config.presets import resolve

    plan = make_plan(Request("gate", seeds=1, sets=("train.lr=1e-3",)))
    plain = flatten(resolve(sets=("train.lr=1e-3",)).config)
    for point in plan.points:
        of_point = flatten(plan.configs[f"{point.slug}-s0"])
        changed = {key for key in plain if plain[key] != of_point[key]}
        assert changed <= {"name", "algo.gate", "eval.before"} and "eval.before" in changed


def test_points_that_are_evaluated_differently_do_not_share_it() -> None:
    plan = make_plan(Request("retrieval", values="task-type,full,none", seeds=1))
    assert plan.baselines == {
        "retrieval=task-type": "untrained", "retrieval=full": "untrained-2", "retrieval=none": "untrained",
    }  # fmt: skip
    assert plan.configs["untrained-2"].skills.retrieval == "full"
    # the paper's row without distillation is GRPO, still evaluated with the method's skills
    none = plan.configs["retrieval-none-s0"]
    assert (none.algo.coef, none.skills.retrieval) == (0.0, "task-type")
    other = make_plan(Request(grids=("eval.temperature=0.4,1.0",), seeds=1))
    assert len(set(other.baselines.values())) == 2
    same = make_plan(Request(grids=("train.lr=1e-4,1e-3",), seeds=1))
    assert set(same.baselines.values()) == {"untrained"}


def test_no_evaluation_before_where_none_is_wanted() -> None:
    plan = make_plan(Request("beta", seeds=1, sets=("eval.before=false",)))
    assert len(plan.jobs) == 4 and set(plan.baselines.values()) == {None}


def test_a_method_without_training_keeps_its_zero_steps() -> None:
    plan = make_plan(Request("method", values="skill-prompt,grpo", seeds=2, flags={"train.steps": (3, "--steps")}))
    assert [(job.run, job.steps) for job in plan.jobs] == [("untrained", 0), ("grpo-s0", 3), ("grpo-s1", 3)]
    assert plan.baselines == {"skill-prompt": "untrained", "grpo": "untrained"}


@pytest.mark.parametrize(
    "model, values", [("tiny-alfworld", ["0.01", "0.1", "1"]), ("qwen2.5-3b-instruct", ["0.001", "0.01", "0.1"])]
)
def test_coefficients_are_multiples_of_what_the_presets_want(model: str, values: list[str]) -> None:
    plan = make_plan(Request("coef", seeds=1, model=model))
    assert [point.label for point in plan.points] == [f"coef={value}" for value in values]
    assert [point.figure for point in plan.points] == ["x0.1", "x1", "x10"]
    assert plan.configs[f"coef-{values[0]}-s0"].algo.coef == float(values[0])
    assert "algo.coef is 0.0 here" in problem(sweep="coef", method="grpo")
    assert make_plan(Request("coef", values="0.5", seeds=1)).points[0].settings == {"algo.coef": 0.5}


def test_seeds_start_where_asked() -> None:
    plan = make_plan(Request("beta", values="5", seeds=2, flags={"seed": (7, "--seed")}))
    assert plan.seeds == [7, 8]


def test_more_seeds_add_runs_at_the_end_and_change_none() -> None:
    plan = make_plan(Request("method", values="skill-prompt,grpo", seeds=1))
    more = with_more_seeds(plan, 3)
    assert more.jobs[: len(plan.jobs)] == plan.jobs
    assert [(job.run, job.seed) for job in more.jobs[len(plan.jobs) :]] == [("grpo-s1", 1), ("grpo-s2", 2)]
    new, old = flatten(more.configs["grpo-s2"]), flatten(more.configs["grpo-s0"])
    assert {key for key in new if new[key] != old[key]} == {"name", "seed"}


def test_every_mistake_is_said_with_its_points_and_once() -> None:
    text = problem(grids=("algo.coef=0.1,x", "algo.gate=gap,bad"), sets=("train.lr=-1",))
    assert "3 problems" in text and "nothing was started" in text
    assert "point coef=0.1, gate=bad | coef=x, gate=bad: algo.gate = 'bad'" in text
    assert text.count("train.lr = -1") == 1 and "--set: train.lr = -1" in text.replace("\n  - ", "\n")
    assert "point coef=x, gate=gap | coef=x, gate=bad: algo.coef = 'x'" in text


def test_a_contradiction_of_one_point_is_found_before_any_starts() -> None:
    text = problem(grids=("skills.retrieval=task-type,none",))
    assert "point retrieval=none: skills.retrieval is none, so the teacher's prompt equals the student's" in text


@pytest.mark.parametrize(
    "given, message",
    [
        ({"sweep": "beta", "sets": ("algo.gate_beta=1",)}, "--set algo.gate_beta=1 sets algo.gate_beta"),
        ({"sweep": "beta", "flags": {"algo.gate_beta": (1.0, "--beta")}}, "--beta sets algo.gate_beta"),
        ({"sweep": "method", "method": "sdar"}, "--method sets method"),
        ({"grids": ("model=tiny-alfworld",), "model": "tiny-webshop"}, "--model sets model"),
        ({}, "nothing to sweep"),
        ({"values": "1,2"}, "nothing to sweep"),
        ({"sweep": "method", "values": "sdar,rlds"}, "unknown method 'rlds'; did you mean 'rlsd'"),
    ],
)
def test_requests_that_mean_nothing_are_refused(given: dict[str, Any], message: str) -> None:
    assert message in problem(**given)


def test_warnings_name_their_points() -> None:
    plan = make_plan(Request("beta", seeds=1))
    assert all(text.startswith("point gate_beta=0: ") for text in plan.warnings) and len(plan.warnings) == 2
