"""``sdar skills lint``, ``diff``, ``import``, ``export`` and ``build`` through the command line."""

from __future__ import annotations

import io
import json
import sys

import pytest
from commands.support import sdar

from sdar_cli.skills.bank import load_bank
from sdar_cli.skills.write import renamed, write_bank
from skills.build.llm_server import GOOD, KEY, Server, reply
from skills.episodes import HEAT, LOST, UNHEATED, WIN, demonstration, write


@pytest.fixture
def episodes(tmp_path):
    lines = [demonstration(WIN, True), demonstration(UNHEATED, False), demonstration(LOST, False)] * 6
    return write(tmp_path / "episodes.jsonl", lines)


def test_lint_of_a_clean_bank_says_what_was_not_checked(capsys):
    result = sdar(capsys, "skills", "lint", "alfworld")
    assert result.code == 0
    assert "7 skills, 0 errors, 0 warnings, 0 notes" in result.out
    assert "not checked: coverage by tasks (--env), token budget (--model)" in result.out


def test_lint_ends_with_1_on_errors_and_0_on_warnings(capsys, tmp_path):
    bank = load_bank("alfworld")
    warned = write_bank(renamed(bank, categories={**bank.categories, HEAT: ()}), tmp_path / "warned")
    result = sdar(capsys, "skills", "lint", str(tmp_path / "warned"), "--json")
    record = json.loads(result.out)
    assert result.code == 0 and (record["errors"], record["warnings"]) == (0, 1)
    assert record["findings"][0]["check"] == "no-keywords" and record["sha256"] == warned.sha256
    (tmp_path / "warned" / "again.md").write_text(
        (tmp_path / "warned" / "general.md").read_text().replace('id = "general"', 'id = "again"')
    )
    result = sdar(capsys, "skills", "lint", str(tmp_path / "warned"))
    assert result.code == 1 and "duplicate " in result.out and "1 errors" in result.out


def test_lint_of_a_bank_that_cannot_be_read(capsys, tmp_path):
    write_bank(renamed(load_bank("alfworld")), tmp_path / "bank")
    (tmp_path / "bank" / f"{HEAT}.md").unlink()
    result = sdar(capsys, "skills", "lint", str(tmp_path / "bank"), "--json")
    record = json.loads(result.out)
    assert result.code == 1 and record["findings"][0]["check"] == "unreadable"
    assert f"no skill for {HEAT}" in record["findings"][0]["text"]
    assert sdar(capsys, "skills", "lint", "nowhere").code == 2


@pytest.mark.usefixtures("offline")
def test_lint_on_a_panel_and_against_a_budget(capsys):
    result = sdar(
        capsys, "skills", "lint", "--env", "alfworld", "--split", "train", "--model", "tiny-alfworld", "--json"
    )
    record = json.loads(result.out)
    assert (record["checked"], record["tasks"]) == (["bank", "panel", "tokens"], 2)
    found = {(f["check"], f["where"]) for f in record["findings"]}
    assert ("keyword-of-other-type", "look_at_obj_in_light") in found, "both goals are to look at a mug"
    assert ("unreached-category", "pick_two_obj_and_place") in found
    assert result.code == 0


def test_diff_shows_texts_and_words(capsys, tmp_path):
    bank = load_bank("alfworld")
    write_bank(renamed(bank, version="2", categories={**bank.categories, HEAT: ("hot",)}), tmp_path / "b")
    result = sdar(capsys, "skills", "diff", "alfworld", str(tmp_path / "b"))
    assert result.code == 0
    assert "version: 1.0.0 -> 2" in result.out and f"keywords of {HEAT}: -heat -warm" in result.out
    record = json.loads(sdar(capsys, "skills", "diff", "alfworld", str(tmp_path / "b"), "--json").out)
    assert record["changed"] == [] and not record["same"]
    assert "the same content" in sdar(capsys, "skills", "diff", "alfworld", "alfworld").out


def test_export_and_import_by_hand(capsys, tmp_path):
    out = tmp_path / "skills.json"
    assert sdar(capsys, "skills", "export", "alfworld", "--format", "claude", "--out", str(out)).code == 0
    words = ["skills", "import", str(out), "--out", str(tmp_path / "bank"), "--licence", "MIT", "--json"]
    result = sdar(capsys, *words, "--map", f"{HEAT}=hot,warm")
    record = json.loads(result.out)
    assert result.code == 0 and record["skills"] == 8 and {"hot", "warm"} < set(record["categories"])
    assert any("no keywords" in warning for warning in record["warnings"])
    assert load_bank(tmp_path / "bank").licence == "MIT"
    assert sdar(capsys, *words).code == 2, "nothing is overwritten"
    again = sdar(capsys, "skills", "import", str(out), "--out", str(tmp_path / "x"), "--map", "nonsense")
    assert again.code == 2 and "OLD=NEW" in again.err
    assert sdar(capsys, "skills", "import", str(out), "--out", str(tmp_path / "x"), "--env", "chess").code == 2


def test_build_by_contrast(capsys, tmp_path, episodes):
    out = tmp_path / "bank"
    result = sdar(capsys, "skills", "build", "--from", str(episodes), "--out", str(out))
    assert result.code == 0 and "18 episodes (6 won) from 1 files" in result.out
    assert f"{HEAT}: take it, heat it with the microwave, then move it to the target." in result.out
    shown = sdar(capsys, "skills", "inspect", str(out)).out
    assert "made by contrast from 18 episodes (6 won) in 1 files" in shown and "episodes.jsonl:1-18" in shown
    assert sdar(capsys, "skills", "build", "--from", str(episodes), "--out", str(out)).code == 2
    strict = sdar(
        capsys, "skills", "build", "--from", str(episodes), "--out", str(tmp_path / "b"), "--min-support", "7"
    )
    assert strict.code == 1 and "too few for a skill" in strict.err


def test_build_by_a_model(capsys, tmp_path, episodes, server: Server):
    server.answers = [reply(GOOD)]
    words = ["skills", "build", "--from", str(episodes), "--builder", "llm", "--out", str(tmp_path / "bank")]
    assert sdar(capsys, *words).code == 2, "no model named"
    result = sdar(capsys, *words, "--llm", "m", "--skills-per-type", "1", "--json")
    record = json.loads(result.out)
    assert result.code == 0 and len(record["skills"]) == 1 and record["builder"] == "llm m by endpoint"
    assert record["skills"][0]["sources"] == ["episodes.jsonl:1,4"]
    assert "1 requests about 18 episodes" in result.err
    text = "".join(path.read_text() for path in (tmp_path / "bank").iterdir())
    assert KEY not in text + result.out + result.err and server.url not in text


def test_on_a_terminal_the_cost_is_agreed_to_first(capsys, tmp_path, episodes, server: Server, monkeypatch):
    server.answers = [reply(GOOD)]
    words = [
        "skills",
        "build",
        "--from",
        str(episodes),
        "--builder",
        "llm",
        "--llm",
        "m",
        "--out",
        str(tmp_path / "bank"),
    ]

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert sdar(capsys, *words).code == 1
    assert server.asked == [] and not (tmp_path / "bank").exists()
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert sdar(capsys, *words, "--yes").code == 0 and len(server.asked) == 1


@pytest.mark.parametrize("command", ["lint", "diff", "import", "export", "build", "inspect"])
def test_help_has_examples(capsys, command):
    assert sdar(capsys, "skills", command, "--help").out.count(f"sdar skills {command}") >= 3
