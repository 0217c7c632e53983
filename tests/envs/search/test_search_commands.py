"""Search-QA through the command line: play, data make, data verify, dry runs, a small training run and evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from search_material import DATA, needs_real, write_data, write_lines

from sdar_cli.cli import main

MODEL = "tiny-webshop"
"""A policy that knows nothing of searching."""


@pytest.fixture
def sdar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("SDAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*words: Any) -> tuple[int, list[dict[str, Any]], str]:
        """Exit code, with --json the lines of standard output, and standard error."""
        capsys.readouterr()
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
        out = capsys.readouterr()
        return code, [json.loads(line) for line in out.out.splitlines() if "--json" in words], out.err

    return run


def test_an_episode_is_played(sdar: Any, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    script = tmp_path / "actions.txt"
    script.write_text(
        "<search>PersonHotpotqa4</search>\nhello\n<answer>The TownHotpotqa4</answer>\n<answer>x</answer>\n"
    )
    words = ["play", "search", "--task", "hotpotqa/4", "--data", data, "--actions", script, "--json"]
    code, records, err = sdar(*words, "--set", "env.top_k=1", "--prompt", "--style", "compact")
    assert code == 0 and "won after 3 steps" in err and "1 actions left over" in err
    assert records[0]["question"] == "Where was PersonHotpotqa4 born?"
    assert [p["id"] for p in records[1]["passages"]] == ["hotpotqa-4"]
    assert records[2]["observation"] == ""
    last = records[3]
    assert (last["done"], last["won"], last["reward"], last["f1"]) == (True, True, 1.0, 1.0)
    assert (last["answer"], last["targets"]) == ("The TownHotpotqa4", ["TownHotpotqa4"])
    assert records[2]["prompt"][0]["content"].endswith("Search:\n- nothing")


def test_a_task_outside_the_panel_can_be_played(sdar: Any, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    common = ["play", "search", "--data", data, "--json", "--set", "env.questions_per_source=1"]
    assert len(sdar(*common, "--list", "--split", "eval")[1][0]) == 2
    script = tmp_path / "actions.txt"
    script.write_text("x")
    for number in range(8):
        assert sdar(*common, "--task", f"nq/{number}", "--actions", script)[0] == 0


def test_turns_end_as_the_preset_says(sdar: Any, tmp_path: Path) -> None:
    script = tmp_path / "actions.txt"
    script.write_text("<search>x</search>\n" * 4)
    code, records, err = sdar("play", "search", "--actions", script, "--json")
    assert (code, len(records), records[-1]["done"]) == (0, 5, True)
    assert "lost after 4 steps" in err


def test_a_world_is_made_once_and_can_be_verified(sdar: Any, tmp_path: Path) -> None:
    out = tmp_path / "world"
    code, (made,), _ = sdar("data", "make", "search", "--out", out, "--seed", 3, "--json")
    assert code == 0 and made["files"] == ["corpus.jsonl", "questions.jsonl"]
    before = (out / "questions.jsonl").read_bytes()
    assert sdar("data", "make", "search", "--out", out, "--seed", 3)[0] == 0
    assert (out / "questions.jsonl").read_bytes() == before
    code, _, err = sdar("data", "make", "search", "--out", out, "--seed", 4)
    assert code == 2 and "another world" in err and "seed 3" in err
    code, (report,), _ = sdar("data", "verify", "search", "--data", out, "--json")
    assert code == 0
    assert set(report["questions"]["train"]) == set(report["questions"]["eval"])
    assert report["retriever"]["passages"] == len((out / "corpus.jsonl").read_text().splitlines())
    assert report["recall"]["direct"] == 1.0 and report["recall"]["bridge"] < 0.8  # the second hop is not named


def test_verify_names_bad_rows(sdar: Any, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", per_source=60)
    write_lines(data / "extra.jsonl", [{"question": "q?"}])
    code, _, err = sdar("data", "verify", "search", "--data", data)
    assert code == 3 and f"{data}/extra.jsonl:1" in err and "no answers" in err
    code, (report,), err = sdar("data", "verify", "search", "--data", data, "--skip-bad", "--json", "--k", 1)
    assert code == 0 and "1 of 121 question rows left out" in report["notices"][0]
    assert report["recall"] == {"all": 1.0, "hotpotqa": 1.0, "nq": 1.0}
    assert sdar("data", "verify", "search", "--strict")[0] == 2


def test_a_dry_run_says_what_is_missing(sdar: Any, tmp_path: Path) -> None:
    words = ["train", "--env", "search", "--model", MODEL, "--dry-run", "--json"]
    code, (plan,), _ = sdar(*words)
    assert (code, plan["ok"]) == (0, True)
    assert (plan["config"]["env"]["max_turns"], plan["config"]["skills"]["retrieval"]) == (4, "keyword")
    code, (plan,), _ = sdar(*words, "--data", tmp_path / "absent")
    assert code == 2 and "no questions at" in plan["missing"][0]["what"]
    code, (plan,), _ = sdar(*words, "--retrieval", "released", "--set", "env.score_scope=released")
    warnings = " ".join(plan["warnings"])
    assert code == 0 and "more than a question contains" in warnings and "whole history" in warnings


def test_large_models_get_the_settings_of_search(sdar: Any) -> None:
    _, (plan,), _ = sdar("train", "--env", "search", "--model", "qwen3-1.7b", "--dry-run", "--json")
    config = plan["config"]
    assert (config["env"]["max_turns"], config["env"]["history"], config["env"]["prompt"]) == (4, 4, "full")
    assert (config["skills"]["retrieval"], config["skills"]["bank"]) == ("keyword", "search")
    assert config["model"]["max_prompt_tokens"] == 4096
    assert plan["sources"]["env.max_turns"] == "preset models/instruct.toml for search"
    assert plan["warnings"] == []


SMALL = ["--set", "train.tasks_per_step=2", "--set", "train.group_size=2", "--set", "eval.with_skill=false"]


def test_a_small_run_on_real_data_and_its_evaluation(sdar: Any, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", per_source=4, sources=("nq", "musique", "bamboogle"))
    words = ["--env", "search-real", "--model", MODEL, "--data", data, *SMALL]
    code, lines, err = sdar("train", *words, "--gate", "gap", "--steps", 1, "--name", "qa", "--json")
    assert code == 0, err
    assert lines[-1]["status"] == "done"
    run = tmp_path / "runs" / "qa"
    (metrics,) = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert metrics["teacher/skill_tokens"] > 0 and metrics["failed_episodes"] == 0
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["corpus_sha256"] == provenance["retriever"]["corpus_sha256"] and provenance["corpus_sha256"]
    episodes = [json.loads(line) for line in (run / "episodes" / "step-000001.jsonl").read_text().splitlines()]
    assert len(episodes) == 4 and {len(e["turns"]) <= 4 for e in episodes} == {True}
    for episode in episodes:
        assert "born" in episode["turns"][0]["view"]["goal"]
        assert [s for s in ("general", "direct_retrieval") if s in episode["skill_ids"]] == list(episode["skill_ids"])
    result = json.loads((run / "eval" / "step-000000.json").read_text())["results"][0]
    assert set(result["types"]) == {"nq", "musique", "bamboogle"}
    assert {"macro mean", "micro mean", "macro mean without bamboogle"} == set(result["means"])
    code, lines, err = sdar("eval", "--run", "qa", "--split", "all", "--games", 6, "--skills", "without", "--json")
    assert code == 0 and lines[-1]["evaluations"][0]["panel"]["tasks"] == 6
    assert "macro mean without bamboogle" in err
    corpus = data / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("born", "raised"))
    code, _, err = sdar("train", "--resume", "qa", "--steps", 2)
    assert code == 4 and "corpus_sha256" in err


def test_a_dead_server_stops_a_run_before_its_model_is_loaded(sdar: Any, tmp_path: Path, monkeypatch: Any) -> None:
    from sdar_cli.envs.search.data import sources

    monkeypatch.setattr(sources, "FIRST_BUDGET", 0.2)
    data = write_data(tmp_path / "data")
    words = ["--env", "search", "--model", MODEL, "--data", data, "--set", "env.retriever=http://127.0.0.1:9"]
    code, _, err = sdar("train", *words, "--name", "dead", "--json")
    assert code == 1 and "no retriever answered" in err and "127.0.0.1:9" in err
    assert "loading" not in err


@needs_real
@pytest.mark.slow
def test_real_questions_and_passages(sdar: Any, tmp_path: Path) -> None:
    words = ["--env", "search", "--model", MODEL, "--data", DATA, *SMALL, "--set", "env.questions_per_source=2"]
    code, _, err = sdar("train", *words, "--steps", 1, "--name", "real")
    assert code == 0, err
    result = json.loads((tmp_path / "runs/real/eval/step-000001.json").read_text())["results"][0]
    assert len(result["types"]) == 7 and result["overall"]["of"] == 14
