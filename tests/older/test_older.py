"""Runs of the version before: every command that reads runs reports of them what that version reported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands.support import sdar

from sdar_cli.base.errors import RunConflictError, RunFailedError
from sdar_cli.base.files import finite
from sdar_cli.evaluation.ledger import Ledger
from sdar_cli.models.loading import model_location
from sdar_cli.runs.records import SCHEMA, EpisodeRecord, read_episodes
from sdar_cli.runs.results import read_report
from sdar_cli.runs.rundir import RunDir
from sdar_cli.skills.build.traces import read_traces

HERE = Path(__file__).parent


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder whose only run is the old one."""
    shutil.copytree(HERE / "shop", tmp_path / "runs" / "shop")
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def expected(name: str) -> Any:
    return json.loads((HERE / "expected" / f"{name}.json").read_text())


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Where the new JSON does not say what the old one did; keys may have been added."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [text for key in old for text in differences(old[key], new.get(key), f"{where}.{key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            text for n, pair in enumerate(zip(old, new, strict=True)) for text in differences(*pair, f"{where}.{n}")
        ]
    return [] if old == new else [f"{where}: {old!r} before, {new!r} now"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("compare", ("compare", "shop@0", "shop@2")),
        ("wide", ("compare", "shop", "--evaluation", "wide")),
        ("show", ("runs", "show", "shop")),
        ("usage", ("skills", "inspect", "--run", "shop")),
    ],
)
def test_commands_report_what_they_reported(place, capsys, name, words) -> None:
    done = sdar(capsys, *words, "--json")
    assert done.code == 0, done.err
    old = expected(name)
    old.pop("config", None)  # that a configuration is read is seen below
    assert differences(old, json.loads(done.out)) == []


def test_the_report_shows_the_same_numbers(place, capsys) -> None:
    done = sdar(capsys, "report", "shop", "--terminal")
    assert done.code == 0, done.err
    before = (HERE / "expected" / "report.txt").read_text().splitlines()
    numbers = [line for line in before[2:] if any(character.isdigit() for character in line)]
    shown = set(done.out.splitlines())
    assert len(numbers) > 40 and [line for line in numbers if line not in shown] == []


def test_traces_for_building_skills_are_the_same(place) -> None:
    for source, old in expected("traces").items():
        new = [
            [t.file, t.line, t.task, t.type, t.goal, t.won, t.env,
             [[a.action, a.acted, len(a.observation), len(a.admissible), len(a.thought)] for a in t.acts]]
            for t in read_traces(source).episodes
        ]  # fmt: skip
        assert new == old


def test_a_folder_with_a_ledger_holds_episodes(place) -> None:
    """What ``sdar eval`` was asked and how far it came are lines of their own."""
    traces = read_traces("runs/shop/eval")
    assert len(traces.episodes) == 2 * 16 + 8 and traces.broken == 0


def test_the_old_run_is_evaluated_and_compared_with_its_old_evaluation(place, capsys) -> None:
    shutil.copytree(model_location("tiny-webshop"), place / "runs" / "shop" / "checkpoints" / "step-000002")
    done = sdar(capsys, "eval", "--run", "shop", "--games", "8", "--name", "again", "--json")
    assert done.code == 0, done.err
    assert (
        read_report(place / "runs/shop/eval/again.json").panel
        == read_report(RunDir(place / "runs/shop").evaluation_path(0)).panel
    )
    files = [f"runs/shop/eval/{name}.json" for name in ("step-000000", "again")]
    done = sdar(capsys, "compare", *files, "--json")
    assert done.code == 0, done.err
    # the run's first evaluation is that of the bundled policy, which was just played again, on draws of this version
    success = [row for row in json.loads(done.out)["measures"] if row["measure"].startswith("success")]
    assert len(success) == 2 and all(row["comparisons"][0]["difference"] == 0 for row in success)


def test_an_old_evaluation_is_not_resumed_in_another_shape(place) -> None:
    path = place / "runs/shop/eval/wide.jsonl"
    before = path.read_bytes()
    key = json.loads(before.split(b"\n")[0])["key"]
    with pytest.raises(RunConflictError) as caught:
        Ledger(path, {**key, "schema": SCHEMA})
    assert f"schema: None then, {SCHEMA} now" in caught.value.why
    assert path.read_bytes() == before


def test_old_and_new_lines_give_the_same(place) -> None:
    """An old episode written in the present shape is read back as it was; the task is a record in both kinds."""
    run = RunDir(place / "runs" / "shop")
    trained = [episode for path in run.episode_files().values() for episode in read_episodes(path)]
    played = list(read_episodes(run.eval / "step-000002.jsonl"))
    assert len(trained) == 3 and len(played) == 16
    for episode in [*trained, *played]:
        assert EpisodeRecord.from_json(json.loads(json.dumps(episode.to_json()))) == episode
        assert episode.task.type and episode.goal and episode.turns
    assert all(turn.detail and len(turn.detail.token_gap) == len(turn.detail.response_ids)
               for episode in trained for turn in episode.turns)  # fmt: skip
    assert {episode.label for episode in played} == {"no skill, sampled T=0.4", "with skill, sampled T=0.4"}
    assert any(episode.reward_parts for episode in played) and all(turn.detail is None for turn in played[0].turns)


def test_reports_are_read_back_as_they_were(place) -> None:
    report = read_report(place / "runs/shop/eval/wide.json")
    assert report.benchmark == "webshop" and report.internalisation[0].gain.tasks == 4
    assert [metric.name for metric in report.results[0].metrics] == ["score"]
    again = json.loads(json.dumps(finite(report.to_json())))
    assert type(report).from_json(again) == report
    old = json.loads((place / "runs/shop/eval/wide.json").read_text())
    del old["key"]
    assert differences(old, again) == [] and again["schema"] == SCHEMA


def test_a_later_schema_is_refused(place) -> None:
    path = place / "runs/shop/eval/step-000002.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": SCHEMA + 1}))
    with pytest.raises(RunFailedError, match="cannot be read") as caught:
        read_report(path)
    assert "later version" in caught.value.why
    lines = path.with_suffix(".jsonl")
    lines.write_text(json.dumps({**json.loads(lines.read_text().splitlines()[0]), "schema": SCHEMA + 1}) + "\n")
    with pytest.raises(RunFailedError, match="record 1, is no episode"):
        list(read_episodes(lines))
