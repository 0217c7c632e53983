"""Put in front of PYTHONPATH, this gives the processes that a sweep starts a training that takes no time.

What a run does is set in ``behaviour.json`` in the working directory: a run's name to ``fail`` (every time),
``fail-once``, ``missing`` (a prerequisite), ``hang`` (after its first step, until it is interrupted) or ``slow`` (half
a second after each step).  A run's success is known: see ``success_at``.
"""

import sys
import types

TASKS = 10


def success_at(beta: float, seed: int, step: int) -> int:
    """Tasks won of 10 by a run after a step; beta may be a tenth of anything."""
    return min(TASKS, int(beta) + seed + min(step, 2)) if step else 1


def train(config, run, reporter, resume):
    """Writes what a training would."""
    import json
    import time
    from pathlib import Path

    from sdar_cli.base.errors import PrerequisiteError
    from sdar_cli.runs.metrics import MetricsWriter
    from tests.analysis.compare.comparison_material import panel_of, wins, write_evaluation

    behaviour = (
        json.loads(Path("behaviour.json").read_text()).get(run.name) if Path("behaviour.json").exists() else None
    )
    marker = run.path / "seen"
    first = not marker.exists()
    marker.touch()
    with Path("starts.txt").open("a") as file:
        file.write(f"{run.name} {'resumed' if resume else 'new'}\n")
    if behaviour == "fail" or (behaviour == "fail-once" and first):
        raise ValueError("boom")
    if behaviour == "missing":
        raise PrerequisiteError("no such thing", fix="get one")
    steps, beta = config.train.steps, config.algo.gate_beta

    def evaluate(step):
        won = success_at(beta, config.seed, step)
        write_evaluation(run.eval / f"step-{step:06d}.json", wins(won, TASKS), wins(TASKS - won, TASKS))

    if config.eval.before and not resume:
        evaluate(0)
    with MetricsWriter(run.metrics) as metrics:
        for step in range(1, steps + 1):
            metrics.write({"step": step, "success": success_at(beta, config.seed, step) / TASKS})
            while behaviour == "hang" and first:
                time.sleep(0.05)
            if behaviour == "slow":
                time.sleep(0.5)
    if steps:
        evaluate(steps)
    panel = panel_of(TASKS).sha256
    return {"steps": steps, "panel_sha256": panel, "success_before": None, "success_after": None}


module = types.ModuleType("sdar_cli.train.run")
module.train = train
sys.modules["sdar_cli.train.run"] = module
