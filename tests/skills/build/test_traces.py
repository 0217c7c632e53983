"""Episodes read back, and what is refused."""

from __future__ import annotations

import hashlib
import json

import pytest

from sdar_cli.base.errors import ConfigError
from sdar_cli.skills.build.build import merge
from sdar_cli.skills.build.traces import read_traces, references
from skills.episodes import GOAL, HEAT, UNHEATED, WIN, demonstration, trained, write


def test_the_three_layouts_give_the_same(tmp_path):
    evaluated = {"task": "t", "type": HEAT, "goal": GOAL, "won": True, "failure": None}
    evaluated["turns"] = [{"response": "r", "action": action, "valid": True} for action in WIN]
    for record in (demonstration(WIN, True), trained(WIN, True), evaluated):
        (trace,) = read_traces(write(tmp_path / "a.jsonl", [record])).episodes
        assert (trace.type, trace.goal, trace.won, [act.action for act in trace.acts]) == (HEAT, GOAL, True, list(WIN))
    assert read_traces(write(tmp_path / "b.jsonl", [trained(WIN, True)])).episodes[0].acts[2].observation == "seen 2"


def test_actions_that_were_not_possible_are_marked(tmp_path):
    record = trained(UNHEATED, False)
    record["turns"][1]["admissible"] = False
    (trace,) = read_traces(write(tmp_path / "a.jsonl", [record])).episodes
    assert [act.acted for act in trace.acts] == [True, False, True, True]


def test_a_run_is_read_by_name_and_its_training_comes_first(tmp_path):
    run = tmp_path / "runs" / "mine"
    write(run / "eval" / "step-000000.jsonl", [demonstration(WIN, True)])
    write(run / "config.json", [])
    assert [trace.file for trace in read_traces("mine", tmp_path / "runs").episodes] == ["mine/eval/step-000000.jsonl"]
    path = write(run / "episodes" / "step-000001.jsonl", [trained(WIN, True), trained(UNHEATED, False)])
    traces = read_traces("mine", tmp_path / "runs")
    assert [(trace.file, trace.line) for trace in traces.episodes] == [
        ("mine/episodes/step-000001.jsonl", n) for n in (1, 2)
    ]
    assert traces.files == {"mine/episodes/step-000001.jsonl": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert read_traces(run / "eval").episodes[0].file == "eval/step-000000.jsonl"


def test_broken_episodes_are_left_out_and_counted(tmp_path):
    broken = {**trained(WIN, False), "failure": "engine died"}
    path = write(tmp_path / "a.jsonl", [trained(WIN, True), broken, trained((), False)])
    traces = read_traces(path)
    assert (len(traces.episodes), traces.broken) == (1, 2)


def test_a_file_given_twice_is_read_once(tmp_path):
    write(tmp_path / "eps" / "a.jsonl", [demonstration(WIN, True)])
    write(tmp_path / "eps" / "b.jsonl", [demonstration(WIN, False)])
    whole = read_traces(tmp_path / "eps")
    assert [trace.won for trace in merge([whole, whole]).episodes] == [True, False]


def test_references_join_lines_to_ranges(tmp_path):
    path = write(tmp_path / "a.jsonl", [demonstration(WIN, True)] * 9)
    episodes = read_traces(path).episodes
    assert references(episodes[i] for i in (8, 0, 2, 3, 4, 6)) == ("a.jsonl:1,3-5,7,9",)
    assert references(episodes) == ("a.jsonl:1-9",)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no JSON object"),
        (b'{"task": "t"}', "missing or wrong"),
        (json.dumps({**demonstration(WIN, True), "won": "yes"}).encode(), "true or false"),
        (json.dumps({**demonstration(WIN, True), "actions": [1]}).encode(), "texts"),
        (json.dumps({**demonstration(WIN, True), "actions": 3}).encode(), "missing or wrong"),
    ],
)
def test_bad_lines_name_file_and_line(tmp_path, line, why):
    path = tmp_path / "a.jsonl"
    path.write_bytes(json.dumps(demonstration(WIN, True)).encode() + b"\n\n" + line + b"\n")
    with pytest.raises(ConfigError) as caught:
        read_traces(path)
    assert caught.value.what.endswith("a.jsonl, line 3: no episode")
    assert why in caught.value.why


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="nothing to build from"):
        read_traces("nowhere", tmp_path)
    with pytest.raises(ConfigError, match="holds no episodes"):
        read_traces(tmp_path)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ConfigError, match="holds no episodes"):
        read_traces(tmp_path / "empty.jsonl")
