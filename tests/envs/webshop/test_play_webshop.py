"""``sdar play webshop``: a script replayed through the command line, on generated data and on the golden catalogue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import webshop_material as material

from sdar_cli.base.errors import ConfigError
from sdar_cli.cli import main
from sdar_cli.envs.registry import open_environment, prompts_of
from sdar_cli.envs.webshop.options import WebShopOptions


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("SDAR_CACHE", str(tmp_path / "cache"))

    def run(*words: str, actions: list[str]) -> tuple[int, list[dict[str, Any]], str]:
        script = tmp_path / "actions.txt"
        script.write_text("\n".join(actions))
        code = 0
        try:
            main(["play", "webshop", *words, "--actions", str(script), "--json"])
        except SystemExit as end:
            code = int(end.code or 0)
        out = capsys.readouterr()
        return code, [json.loads(line) for line in out.out.splitlines()], out.err

    return run


@material.needs_golden
@pytest.mark.parametrize("mode", ["text", "text_rich"])
def test_a_golden_episode_through_the_command_line(play: Any, mode: str) -> None:
    episodes = [row for row in material.golden("golden_episodes.jsonl") if row["mode"] == mode and row.get("info")]
    episode = next(row for row in episodes if row["steps"][-1]["done"])
    task = f"{episode['goals']}/{episode['session']}"
    words = ["--task", task, "--data", str(material.CATALOGUE), "--set", f"env.observation={mode}"]
    code, records, _ = play(*words, actions=[step["action"] for step in episode["steps"]])
    assert code == 0
    assert records[0]["observation"] == episode["reset"]["obs"]
    assert {key: records[0][key] for key in ("clickables", "has_search_bar")} == episode["reset"]["avail"]
    for record, step in zip(records[1:], episode["steps"], strict=True):
        assert (record["observation"], record["done"]) == (step["obs"], step["done"])
        assert {key: record[key] for key in ("clickables", "has_search_bar")} == step["avail"]
    assert set(episode["info"]) <= set(records[-1]["reward_parts"])
    assert "tagger" in records[-1]["reward_parts"]


@material.needs_golden
def test_a_script_goes_on_after_a_purchase(play: Any) -> None:
    script = material.golden("golden_edge.jsonl")[22]
    actions = [step["action"] for step in script["steps"]]
    assert actions[2:] == ["click[buy now]", "click[buy now]", "search[x]"]
    words = ["--task", f"human/{script['session']}", "--data", str(material.CATALOGUE)]
    code, records, err = play(*words, actions=actions)
    assert code == 0 and "lost after 3 steps" in err
    for record, step in zip(records[1:], script["steps"], strict=True):
        assert (record["observation"], record["done"]) == (step["obs"], step["done"])
        assert record["clickables"] == step["avail"]["clickables"]


def test_the_generated_catalogue_is_shopped_in(play: Any) -> None:
    code, records, err = play("--task", "human/3", actions=["search[red]", "click[back to search]", "dance"])
    assert code == 0 and "not finished" in err
    assert [record["has_search_bar"] for record in records] == [True, False, True, True]
    assert records[2]["observation"] == records[0]["observation"] == records[3]["observation"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--task", "human/999999"], "human goals, from 0"),
        (["--task", "people/1"], "an id is human/N or synthetic/N"),
        (["--set", "env.observation=html"], "env.observation = 'html'"),
        (["--set", "train.lr=1"], "only settings of env"),
        (["--data", "/no/such/folder"], "/no/such/folder"),
    ],
)
def test_what_cannot_be_played_is_refused(play: Any, words: list[str], expected: str) -> None:
    code, records, err = play(*words, actions=[])
    assert code in (2, 3) and not records
    assert expected in err


def test_slots_are_episodes_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDAR_CACHE", str(tmp_path))
    with open_environment(WebShopOptions(name="webshop", products=200)) as environment:
        tasks = environment.tasks("all")
        assert len({task.id for task in tasks}) == len(tasks)
        steps = environment.reset({4: tasks[0], 7: tasks[1]})
        assert steps[4].observation.goal != steps[7].observation.goal
        after = environment.step({7: "search[red]"})
        assert list(after) == [7] and not after[7].done
        assert environment.step({4: "nonsense"})[4].observation == steps[4].observation
        with pytest.raises(ConfigError, match="no split"):
            environment.tasks("valid_unseen")
        with pytest.raises(ValueError, match="no running episode"):
            environment.step({9: "search[x]"})
        assert prompts_of("webshop").goal_of(steps[4].observation.text) == steps[4].observation.goal
