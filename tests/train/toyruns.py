"""Whole training runs on the corridor, in this process: what a run leaves behind, and how it can end early."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import toy
from safetensors.torch import load_file
from torch import Tensor

from sdar_cli.base.display import Reporter
from sdar_cli.config.schema import RunConfig
from sdar_cli.envs.panels import make_panel
from sdar_cli.runs.checkpoints import checkpoint_path
from sdar_cli.runs.metrics import read_metrics
from sdar_cli.runs.rundir import FOLDERS, RunDir
from sdar_cli.session import SKILLS_FILE, Session
from sdar_cli.skills.bank import load_bank
from sdar_cli.train.resume import starting_point
from sdar_cli.train.run import _Run

TASKS = [*toy.tasks(6), *toy.tasks(3, "eval")]
TIMINGS = ("tokens_per_s", "eta_s")


class Crash(Exception):
    """The end of a process, as far as this process can imitate it."""


def config(**sections: Any) -> RunConfig:
    """Three steps of 4 groups from 6 tasks, so that the second step begins a new epoch."""
    train = {"steps": 3, "tasks_per_step": 4, "group_size": 2, "save_every": 1, "lr": 5e-4, "keep": 9}
    sections["train"] = {**train, **sections.get("train", {})}
    sections["model"] = {"temperature": 1.5, "max_response_tokens": 14, **sections.get("model", {})}
    sections["env"] = {"max_turns": 2, **sections.get("env", {})}
    sections["eval"] = {"with_skill": False, "temperature": 1.0, **sections.get("eval", {})}
    return toy.config(**sections)


STEPS = 3
SETTINGS = {
    "plain": config(),
    # A teacher with weights of its own, a reference model, two updates per step, a schedule that moves.
    "everything": config(
        algo={"kl_coef": 0.1, "entropy_coef": 0.01, "agg": "trajectory"},
        teacher={"weights": "ema", "ema_decay": 0.8},
        train={"updates_per_step": 2, "lr_schedule": "linear", "warmup_steps": 2, "weight_decay": 0.01},
    ),
    "adapter": config(
        env={"context": "transcript"},
        model={"lora": {"rank": 4, "dropout": 0.2}},
        teacher={"weights": "frozen"},
        train={"updates_per_step": 2, "lr": 1e-2},
    ),
}


def play(
    folder: Path,
    settings: RunConfig,
    model: Any,
    tokenizer: Any,
    resume: bool = False,
    environment: toy.Corridor | None = None,
    prepare: Callable[[_Run], None] | None = None,
) -> dict[str, Any]:
    """A run in ``folder``, begun or continued; returns its summary.  ``prepare`` may change the run first."""
    run = RunDir(folder)
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    environment = environment or toy.Corridor(TASKS)
    with Reporter(plain=True) as reporter:
        panel, train = make_panel(environment.tasks("eval")), environment.tasks("train")
        bank, own = load_bank("alfworld"), copy.deepcopy(model)
        session = Session(settings, reporter, environment, panel, train, bank, own, tokenizer, None)  # type: ignore[arg-type]
        session.adopt(own)
        made = _Run(settings, run, reporter, session, starting_point(run, settings, resume))
        if prepare:
            prepare(made)
        return made.execute()


def comparable(row: Mapping[str, Any]) -> dict[str, Any]:
    """A metrics line without what the clock says."""
    return {key: value for key, value in row.items() if not key.startswith("seconds_") and key not in TIMINGS}


def record(folder: Path, step: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Everything a run leaves that must not depend on how often it was stopped: (texts, final weights)."""
    run = RunDir(folder)
    texts: dict[str, Any] = {"metrics": [comparable(row) for row in read_metrics(run.metrics)]}
    texts["skills"] = read_metrics(run.skills)
    texts["learnt"] = (checkpoint_path(run.checkpoints, step) / SKILLS_FILE).read_text(encoding="utf-8")
    for path in [*sorted(run.episodes.iterdir()), *sorted(run.eval.iterdir())]:
        texts[f"{path.parent.name}/{path.name}"] = path.read_text(encoding="utf-8")
    last = checkpoint_path(run.checkpoints, step)
    weights = {}
    for path in sorted(last.glob("*.safetensors")):
        weights |= {f"{path.name}: {name}": value for name, value in load_file(path).items()}
    return texts, weights


def assert_same_record(found: Path, expected: Path, step: int) -> None:
    """Two runs left the same, bit for bit."""
    texts, weights = record(found, step)
    wanted_texts, wanted_weights = record(expected, step)
    assert [row["step"] for row in texts["metrics"]] == list(range(1, step + 1))
    for own, other in zip(texts["metrics"], wanted_texts["metrics"], strict=True):
        assert own == other
    assert texts == wanted_texts
    assert weights.keys() == wanted_weights.keys() and weights
    different = [name for name, value in weights.items() if not bool((value == wanted_weights[name]).all())]
    assert not different
