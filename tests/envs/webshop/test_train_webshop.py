"""``sdar train --env webshop``, small, with a policy that knows nothing of it: rollouts, teacher, update, scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdar_cli.cli import main
from sdar_cli.envs.webshop.catalogue.goods_nouns import TAGGER

SMALL = {"env.products": 300, "env.max_turns": 6, "train.group_size": 2, "train.tasks_per_step": 2, "eval.games": 7}


def test_a_small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SDAR_CACHE", str(tmp_path / "cache"))
    sets = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    main_words = ["train", "--env", "webshop", "--gate", "gap", "--steps", "1", "--name", "ws", *sets]
    try:
        main([*main_words, "--runs-dir", str(tmp_path / "runs")])
    except SystemExit as end:
        assert not end.code, capsys.readouterr().err
    run = tmp_path / "runs" / "ws"
    summary = json.loads((run / "status.json").read_text())["summary"]
    assert 0 <= summary["success_after"] <= 1
    (metrics,) = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert metrics["teacher/skill_present"] == 1.0
    episodes = [json.loads(line) for line in (run / "episodes" / "step-000001.jsonl").read_text().splitlines()]
    assert len(episodes) == 4
    for episode in episodes:
        assert episode["task"]["id"].startswith("human/")
        bought = episode["stop"] in ("won", "lost")
        assert (episode["score"] is not None) == bought
        assert episode["reward"] == float(episode["won"])  # only winning pays
        assert (episode["reward_parts"] or {}).get("tagger") == (TAGGER if bought else None)
    played = [json.loads(line) for line in (run / "eval" / "step-000000.jsonl").read_text().splitlines()]
    assert all((episode["score"] is None) == (episode["reward_parts"] is None) for episode in played)
    result = json.loads((run / "eval" / "step-000000.json").read_text())["results"][0]
    assert sum(rate["of"] for rate in result["types"].values()) == 7
    assert result["panel"]["split"] == "eval"
    assert result["tagger"] == TAGGER and "score" in result["overall"]
