"""Trains on handmade rows and saves what came of it: run by ``test_parallel.py``, alone or by torchrun."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

import toy  # noqa: E402

from sdar_cli import parallel  # noqa: E402
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


def main(out: str) -> None:
    """Every case's gradients, metrics, last weights and token records, as process R of W sees them, to ``out``-R."""
    with parallel.joined("cpu"):
        tokenizer = toy.make_tokenizer()
        model = toy.make_model(tokenizer)
        found = {}
        for name, sections in CASES.items():
            with tempfile.TemporaryDirectory() as folder:
                done = train(settings(**sections), model, handmade_rows(masked=True), Path(folder), tokenizer)
            metrics = [{k: v for k, v in step.items() if not k.startswith("seconds")} for step in done.metrics]
            rows = sum(map(len, done.trainer._chunks))
            done.trainer.share_tokens()
            tokens = {
                f"{row.trajectory}/{row.turn} {key}": getattr(row, key)
                for row in done.trainer.rows
                for key in ("old", "old_entropy", "gap", "gate")
                if getattr(row, key) is not None
            }
            found[name] = {"gradients": done.gradients, "metrics": metrics, "weights": done.weights[-1], "rows": rows}
            found[name]["tokens"] = tokens
        torch.save(found, f"{out}-{parallel.rank()}")


if __name__ == "__main__":
    main(sys.argv[1])
