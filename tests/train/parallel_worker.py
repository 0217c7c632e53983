"""Trains on handmade rows and saves what came of it: run by ``test_parallel.py``, alone or by torchrun."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

import toy  # noqa: E402

from sdar_cli.base import distributed  # noqa: E402
from sdar_cli.base.display import Reporter  # noqa: E402
from sdar_cli.rollout.episode import Episode  # noqa: E402
from sdar_cli.skills.bank import load_bank  # noqa: E402
from sdar_cli.skills.choose.retriever import Retriever  # noqa: E402
from sdar_cli.train.skills import SkillLearning  # noqa: E402
from train.material import handmade_rows, settings, train  # noqa: E402

ALL_TERMS = {"coef": 0.5, "kl_coef": 0.2, "entropy_coef": 0.1, "agg": "trajectory"}
CASES = {
    "every term": {"algo": ALL_TERMS},
    "rlsd": {"algo": {"coef": 0.5, "shaping": "rlsd"}},
    "belief, two updates": {"algo": {"coef": 0.5, "shaping": "belief"}, "train": {"updates_per_step": 2, "lr": 1e-3}},
    "reverse-kl": {"algo": {"coef": 0.5, "gate": "none", "objective": "reverse-kl"}},
    "ema teacher, two steps": {
        "algo": {"coef": 0.5},
        "teacher": {"weights": "ema"},
        "train": {"steps": 2, "updates_per_step": 3, "lr": 1e-3},
    },
}


def learn(out: Path) -> list[dict[str, Any]]:
    """The state of a retriever before and after two steps whose episodes every process has; one of them writes."""
    made = toy.config(skills={"retrieval": "ucb", "evolve": "drop", "evolve_min_uses": 1, "evolve_threshold": 9.0})
    retriever = Retriever(load_bank("alfworld"), made.skills, made.seed)
    episodes = [Episode(toy.task(n), n, n, [toy.make_turn([5])], reward=n / 4) for n in range(4)]
    for episode in episodes:
        episode.turns[0].token_gap = [0.5]
    states = [retriever.state()]
    with Reporter(plain=True, silent=True) as reporter:
        learner = SkillLearning(made, retriever, out.with_suffix(".jsonl"), reporter)
        for step in (1, 2):
            learner.after_step(step, episodes, retriever.choose_for_groups(episodes, {"ucb"}, step), taught=True)
            states.append(json.loads(json.dumps(retriever.state())))
        learner.close()
    return states


def main(out: str) -> None:
    """Every case's gradients, metrics, last weights and token records, as process R of W sees them, to ``out``-R."""
    with distributed.process_group("cpu"):
        tokenizer = toy.make_tokenizer()
        model = toy.make_model(tokenizer)
        found = {}
        for name, sections in CASES.items():
            with tempfile.TemporaryDirectory() as folder:
                done = train(settings(**sections), model, handmade_rows(masked=True), Path(folder), tokenizer)
            metrics = [{k: v for k, v in step.items() if not k.startswith("seconds")} for step in done.metrics]
            rows = sum(map(len, done.trainer._chunks))
            tokens = {
                f"{row.trajectory}/{row.turn} {key}": value
                for row, record in done.trainer.token_records().items()
                for key, value in (*record.old._asdict().items(), ("gap", record.gap), ("gate", record.gate))
                if value is not None
            }
            found[name] = {"gradients": done.gradients, "metrics": metrics, "weights": done.weights[-1], "rows": rows}
            found[name]["tokens"] = tokens
        found["bandit"] = learn(Path(out))
        torch.save(found, f"{out}-{distributed.rank()}")


if __name__ == "__main__":
    main(sys.argv[1])
