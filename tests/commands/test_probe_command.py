"""``sdar probe`` as a command, with the corridor in place of ALFWorld."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import toy
from toy import say

from commands.support import sdar
from sdar_cli.base.display import Reporter
from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.envs.panels import make_panel
from sdar_cli.models.engines.scripted import ScriptedEngine
from sdar_cli.rollout.collect import Collector
from sdar_cli.runs.rundir import RunDir
from sdar_cli.session import Session
from sdar_cli.skills.bank import load_bank
from sdar_cli.train import probe as module
from sdar_cli.train.gradients import ESTIMATORS
from sdar_cli.train.probe import probing
from sdar_cli.train.trainer import SDARTrainer

NAMES = [estimator.name for estimator in ESTIMATORS]


@dataclass
class Corridor:
    """What the command meets in place of ALFWorld: the corridor, played by a script."""

    folder: Path
    tokenizer: Any
    sessions: list[Session] = field(default_factory=list)
    count: int = 0
    mixed: bool = True

    def respond(self, prompt: str) -> str:
        """Every third response falls, so that groups have both outcomes; or nobody ever gets anywhere."""
        self.count += 1
        if not self.mixed:
            return say("help")
        return say("fall 1") if self.count % 3 == 0 else toy.walker(prompt)

    @contextmanager
    def open(self, config: Any, reporter: Reporter) -> Iterator[Session]:
        from sdar_cli.session import _load, _require_one_device

        _require_one_device(config)
        outer = self

        class Scripted(Session):
            def adopt(self, model: Any, around: Any = None) -> None:
                self.model = model
                engine = ScriptedEngine(outer.tokenizer, outer.respond)
                self.collector = Collector(self.config, self.environment, engine, self.tokenizer)

        environment = toy.Corridor([*toy.tasks(8), *toy.tasks(3, "eval")])
        panel, train = make_panel(environment.tasks("eval")), environment.tasks("train")
        loaded, tokenizer = _load(config, None)
        bank = load_bank("alfworld")
        session = Scripted(config, reporter, environment, panel, train, bank, loaded, tokenizer, None)  # type: ignore[arg-type]
        session.adopt(loaded)
        self.sessions.append(session)
        yield session


@pytest.fixture
def corridor(model_folder, tokenizer, tmp_path, monkeypatch) -> Corridor:
    made = Corridor(model_folder, tokenizer)
    monkeypatch.setattr(module, "open_session", made.open)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return made


def words(corridor: Corridor, *more: str) -> list[str]:
    sets = ["model.device=cpu", "env.max_turns=3", "env.prompt=compact", "skills.form=brief", "train.micro_batch=32",
            "train.threads=1", "model.gradient_checkpointing=false"]  # fmt: skip
    start = ["probe", "--tasks", "6", "--group", "3", "--resamples", "100"]
    if "--run" not in more:
        start += ["--model", str(corridor.folder)]
    return [*start, *[word for each in sets for word in ("--set", each)], *more]


def test_the_command_writes_its_result(corridor, capsys) -> None:
    result = sdar(capsys, *words(corridor))
    assert result.code == 0, result.err
    (path,) = Path("runs/probes").iterdir()
    report = json.loads(path.read_text(encoding="utf-8"))
    assert path.name.startswith(f"alfworld-{corridor.folder.name}-") and str(path) in result.out
    assert [each["name"] for each in report["estimators"]] == NAMES
    assert [each["name"] for each in report["estimators"] if each["own"]] == ["gap gate"]
    assert report["schema"] == 1 and report["sketch"] is None and report["parameters"] == 34_016
    assert report["config"]["algo"]["objective"] == "surrogate", "what was asked for, not what the probe needs"
    assert sorted(map(len, report["halves"])) == [3, 3]
    assert report["batch"]["episodes"] == 18 and report["batch"]["groups_with_both"] > 0
    assert report["settings"]["tasks"] == 6 and report["settings"]["resamples"] == 100
    assert report["teacher"]["skill_present"] == 1.0
    assert sum(each["tokens"] for each in report["per_turn"]) == report["all_turns"]["tokens"] > 0
    assert report["provenance"]["skill_bank_sha256"] and report["provenance"]["packages"]["torch"]
    records = {each["name"]: each for each in report["estimators"]}
    policy, gate = records["policy gradient"], records["gap gate"]
    assert gate["equal_norm_coef"] == pytest.approx(policy["norm"] / gate["norm"])
    assert f"algo.coef = {gate['equal_norm_coef']:.2g}" in report["own"] and report["own"] in result.out
    for name in NAMES:
        assert name in result.out
    for warning in report["warnings"]:
        assert f"warning: {warning}" in result.out
    noise = [name for name, each in records.items() if each["noise"]]
    assert any("noise" in w and all(n in w for n in noise) for w in report["warnings"]) is bool(noise)


def test_the_same_seed_gives_the_same_result(corridor, capsys) -> None:
    reports = []
    for name in ("a.json", "b.json"):
        corridor.count = 0
        assert sdar(capsys, *words(corridor, "--out", f"new/{name}")).code == 0
        reports.append(json.loads((Path("new") / name).read_text(encoding="utf-8")))
    assert reports[0]["estimators"] == reports[1]["estimators"]
    assert not Path("runs").exists()


def test_json_is_all_there_is_on_stdout(corridor, capsys) -> None:
    result = sdar(capsys, *words(corridor, "--json"))
    assert result.code == 0
    events = [json.loads(line) for line in result.out.splitlines()]
    assert [event["event"] for event in events] == ["launch", "done"]
    assert events[1]["status"] == "done" and len(events[1]["estimators"]) == len(NAMES)
    assert "between halves" in result.err


def test_a_failure_closes_the_json_lines(corridor, capsys) -> None:
    result = sdar(capsys, *words(corridor, "--json", "--tasks", "9"))
    assert result.code == 2 and "--tasks 9 is more than the 8 of the split train" in result.err
    events = [json.loads(line) for line in result.out.splitlines()]
    assert events[-1]["event"] == "done" and events[-1]["status"] == "failed"


def test_groups_that_all_fail_leave_nothing_to_compare_with(corridor, capsys) -> None:
    """Without penalties the policy gradient is zero; with them it is theirs."""
    corridor.mixed = False
    assert (
        sdar(
            capsys,
            *words(corridor, "--set", "algo.invalid_penalty=0", "--set", "env.max_turns=1", "--out", "zero.json"),
        ).code
        == 0
    )
    report = json.loads(Path("zero.json").read_text(encoding="utf-8"))
    assert any(w.startswith("no group had both a success and a failure: raise --tasks") for w in report["warnings"])
    assert report["estimators"][0]["norm"] == 0
    for each in report["estimators"]:
        assert each["with_policy"] is None and each["equal_norm_coef"] is None
    assert "no coefficient makes it equal" in report["own"]


def test_a_teacher_without_a_skill_is_told(corridor, capsys) -> None:
    """The policy is shown the skill itself: the teacher's prompt is the student's."""
    more = ["--method", "skill-grpo", "--set", "env.max_turns=1"]
    result = sdar(capsys, *words(corridor, *more, "--out", "same.json"))
    assert result.code == 0, result.err
    report = json.loads(Path("same.json").read_text(encoding="utf-8"))
    assert any("the teacher agrees with the student" in w for w in report["warnings"])
    records = {each["name"]: each for each in report["estimators"]}
    for name in ("signed", "reverse-kl", "jsd"):
        assert records[name]["noise"] and records[name]["between_halves"] is None
    assert "skill-grpo has no teacher" in report["own"] and not any(each["own"] for each in report["estimators"])


def test_a_runs_checkpoint_is_probed(corridor, capsys, model, tokenizer) -> None:
    """With an adapter and a moving average for a teacher; the result goes to the run's folder."""
    lora = ["--lora", "2", "--set", "teacher.weights=ema"]
    config = probe_config(corridor, lora)
    run = RunDir.create(Path("runs"), config.model_copy(update={"name": "mine"}))
    base = probing(config)
    trainer = SDARTrainer(base, copy.deepcopy(model), tokenizer, run.checkpoints, None, None, peft_of(base))  # type: ignore[arg-type]
    with torch.no_grad():
        for name, p in trainer.model.named_parameters():
            if "lora_B" in name:
                p.fill_(0.05)
    trainer.create_optimizer_and_scheduler(1)
    trainer.save_step(1)
    result = sdar(capsys, *words(corridor, "--run", "mine"))
    assert result.code == 0, result.err
    report = json.loads((run.path / "probe.json").read_text(encoding="utf-8"))
    assert report["probed"] == "mine/step-000001"
    used = corridor.sessions[-1].model
    adapters = [p for name, p in used.named_parameters() if "lora_B" in name]
    assert adapters and all(bool((p == 0.05).all()) for p in adapters)
    assert report["parameters"] == sum(p.numel() for p in used.parameters() if p.requires_grad)


def peft_of(config: Any) -> Any:
    return Session.peft_config(SimpleNamespace(config=config))  # type: ignore[arg-type]


def probe_config(corridor: Corridor, more: list[str]) -> Any:
    from sdar_cli.config.presets import resolve

    sets = [more[i + 1] for i, word in enumerate(more) if word == "--set"]
    return resolve(
        model=str(corridor.folder),
        sets=["model.device=cpu", "env.prompt=compact", *sets],
        flags={"model.lora.rank": (int(more[more.index("--lora") + 1]), "--lora")},
    ).config


@pytest.mark.parametrize(
    "more, code, message",
    [
        (["--run", "mine", "--model", "tiny-alfworld"], 2, "--run excludes --model"),
        (["--run", "mine", "--lora", "4"], 2, "--run excludes --lora"),
        (["--run", "mine"], 3, "run mine has no checkpoint"),
        (["--run", "nobody"], 2, "no run 'nobody'"),
        (["--lora", "0"], 2, "--lora 0 is not a rank"),
        (["--out", "."], 2, "--out . is a folder"),
        (["--tasks", "3"], 2, "--tasks"),
        (["--retrieval", "none"], 2, "nothing to distil"),
    ],
)
def test_what_cannot_be_probed_is_refused(corridor, capsys, more, code: int, message: str) -> None:
    RunDir.create(Path("runs"), probe_config(corridor, ["--lora", "2"]).model_copy(update={"name": "mine"}))
    result = sdar(capsys, *words(corridor, *more))
    assert result.code == code and message in result.err
    assert not corridor.sessions and not Path("runs/probes").exists()


def test_several_processes_are_refused(corridor, capsys, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert sdar(capsys, *words(corridor)).code == PrerequisiteError.exit_code


def test_a_broken_environment_is_an_error(corridor, capsys, monkeypatch) -> None:
    monkeypatch.setattr(corridor, "respond", lambda prompt: say("break 1"))
    result = sdar(capsys, *words(corridor))
    assert result.code == 1 and "18 of 18 episodes of a step failed" in result.err
