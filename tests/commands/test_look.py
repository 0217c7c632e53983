"""``sdar presets``, ``sdar runs`` and ``sdar doctor``."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from commands.support import ROOT, sdar
from sdar_cli.config.presets import load_preset
from sdar_cli.config.schema import RunConfig
from sdar_cli.runs.metrics import MetricsWriter
from sdar_cli.runs.rundir import RunDir
from sdar_cli.train import doctor as health
from sdar_cli.train.doctor import (
    Check,
    check_compiler,
    check_package,
    check_python,
    check_sdar,
    check_writable,
    read_needs,
)


def test_presets_are_listed_with_what_they_are_for(capsys: pytest.CaptureFixture[str]) -> None:
    out = sdar(capsys, "presets", "list").out
    for name in ("envs/alfworld", "models/tiny-alfworld", "models/qwen2.5-7b-instruct", "methods/grpo"):
        assert name in out
    rows = json.loads(sdar(capsys, "presets", "list", "--kind", "methods", "--json").out)["presets"]
    assert {"grpo", "opsd", "grpo-opsd", "skill-grpo", "skill-prompt", "skill-sd", "rlsd", "sdar"} <= {
        row["name"] for row in rows
    }
    assert sdar(capsys, "presets", "list", "--kind", "gates").code == 2


def test_a_preset_is_shown_with_what_it_extends(capsys: pytest.CaptureFixture[str]) -> None:
    shown = json.loads(sdar(capsys, "presets", "show", "qwen3-1.7b", "--json").out)
    assert shown["extends"] == "models/instruct.toml"
    assert shown["values"]["env.valid_action"] == "format"
    assert shown["sources"]["env.valid_action"] == "preset models/instruct.toml"
    assert shown["sources"]["train.lr"] == "preset models/instruct.toml"
    out = sdar(capsys, "presets", "show", "methods/sdar").out
    assert "gate_beta = 5.0" in out  # the file itself, with its comments
    shown = json.loads(sdar(capsys, "presets", "show", "rlsd-released", "--json").out)
    assert (shown["extends"], shown["values"]["algo.shaping"]) == ("methods/rlsd.toml", "rlsd")
    result = sdar(capsys, "presets", "show", "sdr")
    assert (result.code, "did you mean 'methods/sdar'" in result.err) == (2, True)


def test_a_method_is_shown_with_what_it_is_before_what_it_sets(capsys: pytest.CaptureFixture[str]) -> None:
    about = load_preset("skill-grpo").about
    out = sdar(capsys, "presets", "show", "skill-grpo").out
    assert out.startswith(f"Optimises: {about['optimises']}\nReduces to: {about['reduces_to']}\n")
    rows = [line.strip() for line in out.splitlines()]
    for key in ("formula", "weight", "sink", "source"):
        assert any(re.fullmatch(rf"{key} +{re.escape(about[key])}", row) for row in rows)
    for model, figures in about["paper"].items():
        assert f"{model}   {figures}" in rows
    assert out.index(about["source"]) < out.index("Qwen3-1.7B") < out.index("train.with_skill")
    assert json.loads(sdar(capsys, "presets", "show", "skill-grpo", "--json").out)["about"] == about
    assert "what the paper reports" not in sdar(capsys, "presets", "show", "grsd").out


def test_a_preset_without_a_card_or_with_half_of_one_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.toml"
    file.write_text('description = "mine"\n[about]\noptimises = "Nothing."\n[algo]\ncoef = 0.3\n')
    out = sdar(capsys, "presets", "show", str(file)).out
    assert out.startswith("Optimises: Nothing.\n") and re.search(r"algo\.coef +0\.3", out)
    assert json.loads(sdar(capsys, "presets", "show", "alfworld", "--json").out)["about"] == {}


def test_a_model_is_shown_with_what_it_wants_for_methods(capsys: pytest.CaptureFixture[str]) -> None:
    out = sdar(capsys, "presets", "show", "tiny-alfworld").out
    assert re.search(r"algo\.coef +0\.01 +for method skill-sd", out)
    shown = json.loads(sdar(capsys, "presets", "show", "tiny-alfworld", "--json").out)
    assert shown["methods"]["skill-sd"] == {"algo.coef": 0.01}
    assert json.loads(sdar(capsys, "presets", "show", "qwen3-1.7b", "--json").out)["methods"] == {}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A finished run ``good`` and a damaged one."""
    good = RunDir.create(tmp_path, RunConfig.model_validate({"name": "good", "method": "sdar", "algo": {"coef": 0.3}}))
    good.start()
    with MetricsWriter(good.metrics) as metrics:
        metrics.write({"step": 1, "success": 0.25})
        metrics.write({"step": 2, "success": 0.5})
    good.finish("done", summary={"success_before": 0.106, "success_after": 0.485})
    damaged = RunDir.create(tmp_path, RunConfig.model_validate({"name": "damaged"}))
    damaged.status_path.write_text("{")
    return tmp_path


def test_runs_are_listed_and_a_damaged_one_hides_none(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = sdar(capsys, "runs", "list", "--runs-dir", str(runs)).out
    good = next(line for line in out.splitlines() if line.strip().startswith("good"))
    assert good.split()[1:] == ["done", "sdar", "0", "2/12", "▁█", "10.6%", "→", "48.5%", *good.split()[9:]]
    assert re.search(r"damaged is damaged: .*status\.json cannot be", out)
    rows = json.loads(sdar(capsys, "runs", "list", "--runs-dir", str(runs), "--json").out)["runs"]
    assert [(row["name"], row["status"]) for row in rows] == [("good", "done"), ("damaged", "damaged")]
    assert (rows[0]["success_before"], rows[0]["success_after"], rows[0]["steps_done"]) == (0.106, 0.485, 2)


def test_no_runs_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = sdar(capsys, "runs", "list", "--runs-dir", str(tmp_path))
    assert (result.code, "sdar train" in result.out) == (0, True)
    assert json.loads(sdar(capsys, "runs", "list", "--runs-dir", str(tmp_path), "--json").out) == {"runs": []}


def test_one_run_is_shown(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = sdar(capsys, "runs", "show", "good", "--runs-dir", str(runs)).out
    assert re.search(r"algo\.coef +0\.3", out)
    assert "step 2  success 50.0%" in out
    shown = json.loads(sdar(capsys, "runs", "show", str(runs / "good"), "--json").out)
    assert shown["config"]["algo"]["coef"] == 0.3
    assert [row["step"] for row in shown["metrics"]] == [1, 2]
    assert shown["provenance"]["seeds"]["run"] == 0
    assert sdar(capsys, "runs", "show", "other", "--runs-dir", str(runs)).code == 2


def test_doctor_finds_this_machine_fit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "check_gpu", lambda: Check("optional", "GPU", "none", "optional"))
    result = sdar(capsys, "doctor", "--json")
    shown = json.loads(result.out)
    assert result.code == (0 if shown["ok"] else 3)
    names = [check["name"] for check in shown["checks"]]
    assert {"python", "torch", "trl", "textworld", "GPU", "cache", "temporary space", "released games"} <= set(names)


def test_doctor_ends_with_3_where_something_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = [Check("ok", "python", "3.12", ">=3.11"), Check("missing", "trl", "1.0", ">=1.16", "pip install trl")]
    monkeypatch.setattr(health, "all_checks", lambda: checks)
    result = sdar(capsys, "doctor")
    assert result.code == 3
    assert "pip install trl" in result.out and "required and missing: trl" in result.out


@pytest.mark.parametrize(
    "found, state",
    [("2.10.9", "missing"), ("2.11", "ok"), ("2.13.0+cpu", "ok"), ("2.14.0", "missing"), ("", "missing")],
)
def test_a_package_must_be_in_its_range(found: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: found)
    check = check_package(Requirement("torch<2.14,>=2.11"))
    assert check.state == state
    assert check.fix == ("" if state == "ok" else 'pip install "torch>=2.11,<2.14"')


def test_an_absent_package_is_missing_with_its_command() -> None:
    check = check_package(Requirement("surely-not-installed>=1"))
    assert (check.state, check.fix) == ("missing", 'pip install "surely-not-installed>=1"')


def not_installed(name: str) -> Any:
    raise metadata.PackageNotFoundError(name)


def test_ranges_are_those_of_the_checkout_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "metadata", not_installed)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needs = read_needs(ROOT)  # named: the tests may run on an installed package
    assert needs is not None and not needs.installed
    assert needs.packages == [Requirement(text) for text in declared["dependencies"]]
    assert str(needs.python) == declared["requires-python"]
    check = check_sdar(needs)
    assert check.state == "optional" and check.fix == f"pip install -e {ROOT}"
    assert check.found == f"not installed: run from {ROOT}"


def test_ranges_are_those_of_the_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extras are not required; a marker that does not hold here rules a requirement out."""
    stated = ["torch<2.14,>=2.11", "vllm>=0.22; extra == 'vllm'", "pywin>=1; sys_platform == 'nowhere'"]
    monkeypatch.setattr(metadata, "metadata", lambda name: {"Requires-Python": ">=3.11"})
    monkeypatch.setattr(metadata, "requires", lambda name: stated)
    monkeypatch.setattr(metadata, "version", lambda name: "9.9")
    needs = read_needs()
    assert needs is not None and needs.installed
    assert (needs.packages, str(needs.python)) == ([Requirement("torch<2.14,>=2.11")], ">=3.11")
    assert check_sdar(needs) == Check("ok", "sdar", "9.9", "installed")


def test_neither_installed_nor_a_checkout_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "metadata", not_installed)
    assert read_needs(tmp_path) is None
    check = check_sdar(None)
    assert check.state == "missing" and check.found.startswith("not installed")


def test_the_interpreter_must_be_in_its_range() -> None:
    assert check_python(SpecifierSet(">=3.11")).state == "ok"
    check = check_python(SpecifierSet(">=99,<100"))
    assert (check.state, check.needed, check.fix) == ("missing", ">=99,<100", "install a later Python")


def test_missing_build_tools_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/make" if name == "make" else None)
    assert check_compiler().found == "no C++ compiler, no cmake"
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/tool")
    assert check_compiler().state == "ok"


def test_a_folder_that_does_not_exist_yet_is_judged_by_its_parent(tmp_path: Path) -> None:
    assert check_writable("cache", tmp_path / "a" / "b", "fix").state == "ok"
    (tmp_path / "file").write_text("")
    assert check_writable("cache", tmp_path / "file", "fix") == Check(
        "missing", "cache", f"{tmp_path / 'file'}: not writable", "writable", "fix"
    )
