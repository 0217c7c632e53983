"""Metrics: what they are averaged over, and that a guest's is seen wherever results are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import toy
from analysis.compare.comparison_material import make_run, wins
from commands.support import sdar

from sdar_cli.analysis.compare.arms import Arm, Member
from sdar_cli.analysis.report.sections import held_out
from sdar_cli.analysis.sweeps.results import collect, point_table
from sdar_cli.base.errors import ConfigError, RunFailedError
from sdar_cli.config.plugs import METRIC
from sdar_cli.config.schema import EvalConfig
from sdar_cli.envs.base import Task
from sdar_cli.envs.panels import make_panel
from sdar_cli.evaluation.metrics import METRICS, Metric, load_metrics, measure
from sdar_cli.evaluation.play import evaluate
from sdar_cli.evaluation.render import table
from sdar_cli.evaluation.setting import Setting
from sdar_cli.models.engines.scripted import ScriptedEngine
from sdar_cli.rollout.collect import Collector
from sdar_cli.runs.records import EpisodeRecord, TurnRecord, read_episodes
from sdar_cli.runs.results import EvaluationResult
from sdar_cli.runs.rundir import RunDir
from sdar_cli.sweep.plan import Request, make_plan
from sdar_cli.sweep.state import SweepDir

GUEST = """
from sdar_cli.evaluation.metrics import Metric

def words(episode):
    lengths = [len(turn.response.split()) for turn in episode.turns]
    return sum(lengths) / len(lengths) if lengths else None

broken = lambda episode: episode.nothing
wordy = Metric("wordy", "long responses", "%", lambda episode: (words(episode) or 0) > 1, "episodes")
taken = Metric("success", "success", "%", lambda episode: 1.0)
text = "no metric"

def of_text(episode):
    return "three"
"""
TASKS = 12


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "guest_metrics.py").write_text(GUEST)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


def episode(
    won: bool, valid: tuple[bool, ...], score: float | None = None, failure: str | None = None
) -> EpisodeRecord:
    turns = tuple(TurnRecord("say it", "it", ok, ok) for ok in valid)
    return EpisodeRecord(Task("t", "k", "eval"), "", won, score=score, failure=failure, turns=turns)


def test_built_in_metrics_by_hand() -> None:
    """Two episodes of 1 and 3 turns, one of 4 turns invalid: 2 turns on average, a quarter of the turns is invalid."""
    played = [episode(True, (True,), 0.5), episode(False, (True, False, True), None, "gone")]
    found = {name: measure(name, played) for name in METRICS}
    assert found == {"success": 0.5, "score": 0.25, "turns": 2.0, "invalid_ratio": 0.25, "failed": 1.0}
    assert {name: measure(name, []) for name in METRICS} == dict.fromkeys(METRICS, 0.0)
    assert METRIC.builtin() == tuple(METRICS) == tuple(metric.name for metric in METRICS.values())


def test_what_a_metric_is_averaged_over() -> None:
    """Values 0.5 and none, over 4 turns in all."""
    played = [episode(True, (True,), 0.5), episode(False, (True, False, True))]
    means = {
        over: Metric("m", "m", "", lambda e: e.score, over).mean(played)
        for over in ("episodes", "known", "sum", "turns")
    }
    assert means == {"episodes": 0.25, "known": 0.5, "sum": 0.5, "turns": 0.125}
    assert Metric("m", "m", "", lambda e: None).mean(played) is None


def test_guests_are_functions_and_metrics(guest) -> None:
    words, wordy = load_metrics(["guest_metrics:words", "guest_metrics:wordy"])
    assert (words.name, words.title, words.over) == ("words", "words", "known") and wordy.title == "long responses"
    assert words.value(episode(True, (True, True))) == 2.0 and words.value(episode(True, ())) is None


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("guest_metrics:text", ConfigError, "is no metric"),
        ("guest_metrics:taken", ConfigError, "cannot have the name 'success'"),
        ("guest_metrics:missing", ConfigError, "cannot load metric"),
        ("guest_metrics:broken", ConfigError, "cannot have the name '<lambda>'"),
    ],
)
def test_what_is_no_metric_is_refused(guest, name, error, message) -> None:
    with pytest.raises(error, match=message):
        load_metrics([name])


def test_errors_of_a_guest_name_its_file_and_its_value(guest) -> None:
    import guest_metrics  # type: ignore[import-not-found]

    failing = Metric("failing", "failing", "", guest_metrics.broken)
    with pytest.raises(RunFailedError, match="metric 'failing' failed: AttributeError") as caught:
        failing.value(episode(True, ()))
    assert "guest_metrics.py, line 8" in caught.value.why
    (of_text,) = load_metrics(["guest_metrics:of_text"])
    with pytest.raises(ConfigError, match="returned 'three'"):
        of_text.value(episode(True, ()))


def test_unknown_names_are_refused_by_the_configuration() -> None:
    assert EvalConfig(metrics=("turns", "package.module:metric")).metrics == ("turns", "package.module:metric")
    with pytest.raises(ValueError, match="did you mean 'turns'"):
        EvalConfig(metrics=("turn",))


def test_an_evaluation_shows_what_its_configuration_names(guest, tokenizer) -> None:
    """In the result, in its JSON and read back from it, and in every cell of the table."""
    panel = make_panel(toy.tasks(4, "eval"))
    settings = toy.config(eval={"metrics": ("turns", "guest_metrics:words")})
    collector = Collector(settings, toy.Corridor(panel.tasks), ScriptedEngine(tokenizer, toy.walker), tokenizer)
    result, episodes = evaluate(collector, panel, Setting(False, "sampled", 0.4, (0,)), lambda task, goal: "")
    assert [metric.name for metric in result.metrics] == ["turns", "words"]
    assert result.overall.metrics["turns"] == result.mean_turns == sum(len(e.turns) for e in episodes) / 4
    assert result.overall.to_json()["words"] == result.overall.metrics["words"] > 1
    assert EvaluationResult.from_json(json.loads(json.dumps(result.to_json()))) == result
    assert all(f", words {result.types[row[0]].metrics['words']:.3f}" in row[1] for row in table([result])[1][:-1])


def test_a_guest_is_compared_reported_and_swept(guest, tmp_path, capsys) -> None:
    """Its values are those of the files: the guest's package is not needed to read them."""
    length = Metric("length", "letters", "", lambda e: float(len(e.task.id)) + e.won)
    made = make_plan(Request(grids=("algo.gate_beta=1,5",), seeds=3, sets=("train.steps=6",)))
    sweep = SweepDir.create(tmp_path / "sweeps" / "beta", made, {})
    for number, job in enumerate(sweep.jobs):
        if job.steps:
            training = [0.1 * step for step in range(6)]
            outcomes = {6: wins(2 + number, TASKS)}
            shown = [length, METRICS["turns"]]
            path = make_run(sweep.runs, job.run, outcomes, seed=job.seed, metrics=shown, training=training)
            summary = {"steps": 6, "panel_sha256": "p"}
            (path / "status.json").write_text(json.dumps({"state": "done", "seconds": 5.0, "summary": summary}))
    words = ("compare", "beta:", "--sweeps-dir", str(tmp_path / "sweeps"))
    done = sdar(capsys, *words, "--json")
    assert done.code == 0, done.err
    found = {row["measure"]: row for row in json.loads(done.out)["measures"]}
    row = found["letters, no skill, sampled T=0.4"]
    letters = lengths(sweep.run_dir(next(job for job in sweep.jobs if job.steps)))
    assert row["unit"] == "" and row["arms"][0]["values"][0] == pytest.approx(letters) and letters > 1
    assert row["comparisons"][0]["welch"] and "two_level" not in row["comparisons"][0]
    assert "two_level" in found["turns per episode, no skill, sampled T=0.4"]["comparisons"][0]
    assert "letters, no skill, sampled" in sdar(capsys, *words).out
    results = collect(sweep)
    columns = point_table(results)[1]
    assert columns[-2:] == ["letters, no skill", "turns per episode, no skill"]
    assert point_table(results)[2][0][-2].startswith(f"{results.points[0].metrics['length'].mean:.1f} [")
    written = json.loads(sweep.results_path.read_text())
    assert written["points"][0]["metrics"]["length"]["n"] == 3 and len(written["points"][0]["runs"][0]["metrics"]) == 2
    run = sweep.run_dir(next(job for job in sweep.jobs if job.steps))
    section = held_out([Arm("one", (Member(run),))])
    assert f", letters {letters:.3f}" in section.tables[0].rows[-1][1]


def lengths(run: RunDir) -> float:
    """The mean over the episodes on disk."""
    found = [len(e.task.id) + e.won for e in read_episodes(run.evaluation_path(6).with_suffix(".jsonl"))]
    return sum(found) / len(found)
