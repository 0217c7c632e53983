"""Evaluation: who plays what how often, on which draws, and what is counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import toy
from toy import TAKE, say

from sdar_cli.base.display import Reporter
from sdar_cli.base.errors import RunFailedError
from sdar_cli.base.seeds import seed_of
from sdar_cli.envs.base import StopReason, Task
from sdar_cli.envs.panels import make_panel
from sdar_cli.evaluation import play as module
from sdar_cli.evaluation.metrics import METRICS
from sdar_cli.evaluation.panel import dump_episodes, evaluate_panel
from sdar_cli.evaluation.play import evaluate
from sdar_cli.evaluation.render import benchmark_table, internalisation_line, table
from sdar_cli.evaluation.setting import Setting, settings_for
from sdar_cli.evaluation.summary import internalisation, summarise
from sdar_cli.models.engine import Sampling
from sdar_cli.models.engines.scripted import ScriptedEngine
from sdar_cli.rollout.collect import Collector
from sdar_cli.runs.records import EpisodeRecord
from sdar_cli.runs.results import EvaluationReport, EvaluationResult, PanelRecord
from sdar_cli.runs.rundir import RunDir
from sdar_cli.session import Session
from sdar_cli.skills.bank import load_bank
from sdar_cli.stats import wilson

PANEL = make_panel(toy.tasks(9, "eval"))
"""Corridors of 0, 1 and 2 rooms; types 0 to 2 have two tasks, types 3 to 5 one."""
SAMPLED = Setting(with_skill=False, decoding="sampled", temperature=0.4, seeds=(0, 1))
SKILL = "Go on, then take it."


class Noting(ScriptedEngine):
    """Remembers the seeds and samplings it was given and the prompts it saw."""

    def __init__(self, tokenizer, respond) -> None:
        self.prompts: list[str] = []
        self.asked: list[tuple] = []
        super().__init__(tokenizer, lambda prompt: self.prompts.append(prompt) or respond(prompt))

    def answer(self, request):
        self.asked.append((request.seed, request.sampling))
        return super().answer(request)


def short_walker(prompt: str) -> str:
    """Wins corridors of up to one room and falls in longer ones."""
    return say("fall 1") if "You walk on, 1 to go." in prompt else toy.walker(prompt)


def play(tokenizer, setting=SAMPLED, respond=short_walker, **sections):
    settings = toy.config(**sections)
    engine = Noting(tokenizer, respond)
    collector = Collector(settings, toy.Corridor(PANEL.tasks), engine, tokenizer)
    result, episodes = evaluate(collector, PANEL, setting, lambda task, goal: SKILL)
    return result, episodes, engine


def test_every_task_is_played_once_per_seed(tokenizer) -> None:
    result, episodes, _ = play(tokenizer)
    assert Counter((e.seed, e.task.id) for e in episodes) == {(s, t.id): 1 for s in (0, 1) for t in PANEL.tasks}
    assert result.overall.of == 18
    assert result.panel == PanelRecord("eval", 9, PANEL.sha256)


def test_counts_per_type_and_overall(tokenizer) -> None:
    """Task n has n % 3 rooms and type n % 6; those of two rooms (n = 2, 5, 8) are lost, with both seeds."""
    result, _, _ = play(tokenizer)
    counts = {name.split("_")[1]: (rate.won, rate.of) for name, rate in result.types.items()}
    assert counts == {"at": (4, 4), "and": (4, 4), "clean": (0, 4), "cool": (2, 2), "heat": (2, 2), "two": (0, 2)}
    assert (result.overall.won, result.overall.success) == (12, 12 / 18)
    low, high = wilson(6, 9)  # two seeds play the same nine tasks: no more tasks were drawn
    assert (result.overall.low, result.overall.high) == (low, high)
    assert result.per_seed == (6 / 9, 6 / 9) and (result.mean, result.sd_over_sampling_seeds) == (6 / 9, 0)
    # Turns: 1 for no room, 2 for one room, and 2 until the fall in two rooms.
    assert result.mean_turns == pytest.approx((1 + 2 + 2) / 3)
    assert result.invalid_ratio == 0.0 and result.failed == 0 and result.cut_prompts == 0


def test_a_benchmark_with_a_score_has_one_in_every_row() -> None:
    """An episode that ends without a purchase scores 0, also where no episode of its type had one."""
    panel = make_panel([Task("a", "home", "eval"), Task("b", "home", "eval"), Task("c", "beauty", "eval")])
    episodes = [
        EpisodeRecord(task, "", won=False, score=score, label="x", seed=0)
        for task, score in zip(panel.tasks, by_task(panel.tasks), strict=True)
    ]
    setting, score = replace(SAMPLED, seeds=(0,)), METRICS["score"]
    result = summarise(panel, setting, episodes, 0, metrics=[score], tagger="t1")
    assert {name: rate.metrics["score"] for name, rate in result.types.items()} == {"home": 0.25, "beauty": 0.0}
    assert result.overall.metrics["score"] == pytest.approx(0.5 / 3)
    assert result.tagger == "t1"
    assert result.to_json()["overall"]["score"] == result.overall.metrics["score"]
    unscored = [replace(e, score=None) for e in episodes]
    assert summarise(panel, setting, unscored, 0, metrics=[score]).overall.metrics["score"] == 0.0
    assert "score" not in summarise(panel, setting, unscored, 0).overall.metrics


def by_task(tasks: Sequence[Task]) -> list[float | None]:
    """Task a was bought something for that is half right; the others were left."""
    return [0.5 if task.id == "a" else None for task in tasks]


def report_of(benchmark: str, result: EvaluationResult) -> EvaluationReport:
    return EvaluationReport("t", result.panel, (result,), benchmark=benchmark)


def test_broken_episodes_are_lost_and_counted_apart(tokenizer) -> None:
    result, episodes, _ = play(tokenizer, respond=lambda prompt: say("break 1" if TAKE in prompt else "go on"))
    assert result.failed == 18 and result.overall.won == 0
    assert {e.stop for e in episodes} == {StopReason.ENV_FAILED}
    assert {e.failure for e in episodes} == {"the corridor fell down"}


def test_seeds_differ_and_do_not_depend_on_the_training_run(tokenizer) -> None:
    """Runs with other seeds and settings of training are compared on the same draws."""
    asked = play(tokenizer)[2].asked
    other = play(tokenizer, seed=7, train={"steps": 9, "lr": 1e-3}, algo={"coef": 0.0})[2].asked
    assert asked == other
    seeds = [seed for seed, _ in asked]
    assert len(set(seeds)) == len(seeds) == 2 * (3 * 1 + 6 * 2)  # three episodes of one turn, six of two; two seeds
    assert seeds[: len(PANEL.tasks)] == [seed_of("evaluate", 0, task.id, 0) for task in PANEL.tasks]
    assert {sampling for _, sampling in asked} == {Sampling(24, 0.4)}


def test_greedy_decoding_is_played_once(tokenizer) -> None:
    made = settings_for(["sampled", "greedy"], [False, True], 0.7, 3)
    assert [(s.decoding, s.with_skill, s.seeds) for s in made] == [
        ("sampled", False, (0, 1, 2)),
        ("sampled", True, (0, 1, 2)),
        ("greedy", False, (0,)),
        ("greedy", True, (0,)),
    ]
    assert [s.label for s in made][1:3] == ["with skill, sampled T=0.7", "no skill, greedy"]
    result, _, engine = play(tokenizer, made[2])
    assert all(sampling.greedy for _, sampling in engine.asked)
    assert result.temperature is None and result.overall.of == 9


@pytest.mark.parametrize("shown", [True, False])
def test_the_skill_is_in_the_prompts_only_where_it_is_wanted(tokenizer, shown: bool) -> None:
    result, _, engine = play(tokenizer, Setting(shown, "sampled", 0.4, (0,)))
    assert engine.prompts and all((f"Skill: {SKILL}" in prompt) is shown for prompt in engine.prompts)
    assert result.with_skill is shown


def test_a_large_panel_is_played_in_parts(tokenizer, monkeypatch) -> None:
    """Parts of four: still every task once per seed, each part with draws of its own."""
    monkeypatch.setattr(module, "CHUNK", 4)
    progress: list[int] = []
    settings = toy.config()
    engine = Noting(tokenizer, toy.walker)
    collector = Collector(settings, toy.Corridor(PANEL.tasks), engine, tokenizer)
    result, episodes = evaluate(collector, PANEL, SAMPLED, lambda task, goal: "", progress.append)
    assert Counter((e.seed, e.task.id) for e in episodes) == {(s, t.id): 1 for s in (0, 1) for t in PANEL.tasks}
    assert max(engine.calls) == 4
    seeds = [seed for seed, _ in engine.asked]
    assert len(set(seeds)) == len(seeds)
    assert sum(progress) == 18 and result.overall.of == 18


def test_invalid_actions_and_cut_prompts_are_reported(tokenizer) -> None:
    result, _, _ = play(tokenizer, respond=lambda prompt: "<action>dance</action>")
    assert result.invalid_ratio == 1.0
    cut, _, _ = play(tokenizer, respond=lambda prompt: "<action>dance</action>", model={"max_prompt_tokens": 60})
    assert cut.cut_prompts > 0


def test_the_table_and_the_record(tokenizer) -> None:
    result, episodes, _ = play(tokenizer)
    columns, rows = table([result])
    assert columns == ["task type", "no skill, sampled T=0.4"]
    assert rows[-2] == ["all", "66.7 % [35, 88] (12/18)"]
    assert rows[-1] == ["mean ± sd over seeds", "66.7 ± 0.0"]
    assert len(rows) == 6 + 2
    lines = dump_episodes([episodes]).splitlines()
    assert [json.loads(line) for line in lines] == [episode.to_json() for episode in episodes]
    assert {episode.label for episode in episodes} == {result.label}
    assert json.loads(lines[0])["turns"][0].keys() == {"response", "action", "valid", "admissible"}


def test_a_session_evaluates_with_the_banks_skill_and_writes_it_down(tokenizer, tmp_path) -> None:
    """``eval.with_skill`` adds a second row of settings; the skill is that of the task's type."""
    settings = toy.config(eval={"with_skill": True, "seeds": 2, "temperature": 0.4})
    bank = load_bank("alfworld")
    engine = Noting(tokenizer, toy.walker)
    environment = toy.Corridor(PANEL.tasks)
    collector = Collector(settings, environment, engine, tokenizer)
    with Reporter(plain=True) as reporter:
        session = Session(settings, reporter, environment, PANEL, [], bank, None, tokenizer, collector)
        report = evaluate_panel(session, RunDir(tmp_path), "step-000000", "before")
    assert [r.with_skill for r in report.results] == [False, True]
    half = len(engine.prompts) // 2
    assert not any("Skill:" in prompt for prompt in engine.prompts[:half])
    assert all("Skill:" in prompt for prompt in engine.prompts[half:])
    desklamp = [prompt for prompt in engine.prompts[half:] if "desklamp" in prompt]
    assert 0 < len(desklamp) < half
    written = json.loads((tmp_path / "eval" / "step-000000.json").read_text())
    assert EvaluationReport.from_json(written) == report
    episodes = [json.loads(line) for line in (tmp_path / "eval" / "step-000000.jsonl").read_text().splitlines()]
    assert len(episodes) == 2 * 2 * 9
    assert {e["label"] for e in episodes} == {r.label for r in report.results}


def test_a_broken_environment_is_no_result(tokenizer, tmp_path) -> None:
    """Episodes that all fail must not be reported as a success of 0 %."""

    class Broken(toy.Corridor):
        def reset(self, assignment):
            return {slot: replace(step, done=True, failure="gone") for slot, step in super().reset(assignment).items()}

    settings = toy.config(eval={"with_skill": False})
    environment = Broken(PANEL.tasks)
    collector = Collector(settings, environment, Noting(tokenizer, toy.walker), tokenizer)
    with Reporter(plain=True) as reporter:
        session = Session(settings, reporter, environment, PANEL, [], load_bank("alfworld"), None, tokenizer, collector)
        with pytest.raises(RunFailedError, match="9 of 9 episodes of an evaluation failed"):
            evaluate_panel(session, RunDir(tmp_path), "step-000000", "before")


def test_other_benchmarks_have_no_means(tokenizer) -> None:
    result, _, _ = play(tokenizer)
    assert result.means is None
    assert [row[0] for row in table([result])[1]][-2:] == ["all", "mean ± sd over seeds"]


def test_internalisation_is_what_the_skill_still_adds(tokenizer) -> None:
    """Without it, corridors of two rooms are lost (3 of 9); with it, none: paired by task, per way of decoding."""
    settings = settings_for(["sampled", "greedy"], [False, True], 0.4, 2)

    def respond(prompt: str) -> str:
        return toy.walker(prompt) if "Skill:" in prompt else short_walker(prompt)

    played = [play(tokenizer, setting, respond)[:2] for setting in settings]
    found = internalisation([result for result, _ in played], [episodes for _, episodes in played])
    assert [each.decoding for each in found] == ["sampled T=0.4", "greedy"]
    for each in found:
        assert (each.without, each.shown, each.share) == (6 / 9, 1.0, 6 / 9)
        assert (each.gain.better, each.gain.worse, each.gain.tasks) == (3, 0, 9)
        assert each.gain.estimate == pytest.approx(3 / 9) and each.gain.p == pytest.approx(2 / 8)
    assert internalisation_line(found[1]).startswith(
        "internalised (greedy): without skills 66.7 %, with them 100.0 % (67 % is there without); "
        "showing the skill adds +33.3 points ["
    )
    assert internalisation([played[0][0]], [played[0][1]]) == ()


def test_benchmarks_share_a_table_only_where_settings_are_alike(tokenizer) -> None:
    sampled, _, _ = play(tokenizer, Setting(False, "sampled", 0.4, (0,)))
    warmer, _, _ = play(tokenizer, Setting(False, "sampled", 1.0, (0,)))
    columns, rows = benchmark_table([report_of("a", sampled), report_of("b", warmer)])
    assert columns == ["benchmark", "task type", "no skill, sampled T=0.4", "no skill, sampled T=1"]
    assert [row[:2] for row in rows if row[1] == "all"] == [["a", "all"], ["b", "all"]]
    assert all((row[2] is None) is (row[0] == "b") and (row[3] is None) is (row[0] == "a") for row in rows)
