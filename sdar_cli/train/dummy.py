"""The gate, objective, shaping and schedule of a guest, tried on a batch of six tokens before anything is played."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sdar_cli.algo.registry import GATE, OBJECTIVE, SCHEDULE, SHAPING
from sdar_cli.base.errors import ConfigError
from sdar_cli.base.plugins import Kind
from sdar_cli.config.schema import RunConfig

if TYPE_CHECKING:
    from sdar_cli.algo.batch import TokenBatch

ROWS, TOKENS, WIDTH, VOCABULARY = 2, 3, 4, 5


def check_loss(config: RunConfig) -> Sequence[str]:
    """No notes.  Raises SdarError where what the configuration names gives a wrong shape or a value that is not finite.

    What ships with the package, without arguments, is not tried: its tests do that.
    """
    algo, steps = config.algo, config.train.steps
    if steps == 0 or algo.coef == 0:
        return ()
    if _is_tried(SCHEDULE, algo.coef_schedule, algo.coef_schedule_args):
        _check_schedule(config)
    loss = ((GATE, algo.gate, algo.gate_args), (OBJECTIVE, algo.objective, algo.objective_args))
    if algo.shaping != "none":
        if _is_tried(SHAPING, algo.shaping, algo.shaping_args):
            _try(f"the shaping {algo.shaping!r} (algo.shaping)", lambda: _shaped(config))
    elif any(_is_tried(*each) for each in loss):
        names = f"the gate {algo.gate!r} with the objective {algo.objective!r} (algo.gate, algo.objective)"
        _try(names, lambda: _distilled(config))
    return ()


def _is_tried(kind: Kind, name: str, arguments: object) -> bool:
    return bool(arguments) or name not in kind.builtin()


def _check_schedule(config: RunConfig) -> None:
    from sdar_cli.algo.schedule import coefficient

    algo = config.algo
    over = algo.coef_steps or config.train.steps
    schedule = SCHEDULE.bind(algo.coef_schedule, algo.coef_schedule_args)
    for step in sorted({1, (config.train.steps + 1) // 2, config.train.steps}):
        _try(
            f"the schedule {algo.coef_schedule!r} (algo.coef_schedule)",
            partial(coefficient, schedule, step, over, algo.coef, algo.coef_end),
        )


def _try(what: str, attempt: Callable[[], object]) -> None:
    """Call it; an error of plain Python or torch becomes one that names ``what``."""
    try:
        attempt()
    except (ValueError, TypeError, AttributeError, RuntimeError, IndexError) as error:
        first = f"{type(error).__name__}: {error}".splitlines()[0]
        fix = "see docs/extending.md for what it must give"
        raise ConfigError(f"{what} cannot be used", why=first, fix=fix) from error


def _distilled(config: RunConfig) -> None:
    import torch

    from sdar_cli.algo.distill import distillation

    algo = config.algo
    loss, sums = distillation(
        _batch(),
        gate=GATE.bind(algo.gate, algo.gate_args),
        objective=OBJECTIVE.bind(algo.objective, algo.objective_args),
        beta=algo.gate_beta,
        weights=torch.ones(ROWS, TOKENS),
    )
    if not torch.isfinite(sums["gate_sum"]):
        raise ValueError(f"the values of the gate {algo.gate!r} are not finite on a batch of ordinary log-probs")
    if not torch.isfinite(loss):
        raise ValueError(f"the loss of the objective {algo.objective!r} is not finite on a batch of ordinary log-probs")


def _shaped(config: RunConfig) -> None:
    import torch

    from sdar_cli.algo.batch import check_shape

    algo = config.algo
    advantages = SHAPING.bind(algo.shaping, algo.shaping_args)(_batch(), algo.coef, algo.shaping_clip)
    check_shape("the shaping's result", advantages, (ROWS, TOKENS))
    if not torch.isfinite(advantages).all():
        raise ValueError("its advantages are not finite on a batch of ordinary log-probs")


def _batch() -> TokenBatch:
    """Two rows of one trajectory each, with everything that a batch of training has."""
    import torch

    from sdar_cli.algo.batch import Head, TokenBatch

    def steps(low: float, high: float) -> torch.Tensor:
        return torch.linspace(low, high, ROWS * TOKENS).reshape(ROWS, TOKENS)

    weight = torch.linspace(-1, 1, VOCABULARY * WIDTH).reshape(VOCABULARY, WIDTH)
    hidden = torch.linspace(-1, 1, ROWS * TOKENS * WIDTH).reshape(ROWS, TOKENS, WIDTH)
    student = steps(-2.0, -0.2).requires_grad_()
    teacher = steps(-1.0, -0.5)
    return TokenBatch(
        student=student,
        mask=torch.ones(ROWS, TOKENS, dtype=torch.bool),
        turn_ids=torch.zeros(ROWS, dtype=torch.long),
        trajectory_ids=torch.arange(ROWS),
        group_ids=torch.zeros(ROWS, dtype=torch.long),
        teacher=teacher,
        old=student.detach(),
        reference=student.detach(),
        entropy=steps(0.1, 1.5),
        advantage=steps(-1.0, 1.0),
        success=torch.tensor([True, False]),
        views=teacher[None],
        student_head=Head(hidden.clone().requires_grad_(), weight),
        teacher_head=Head(hidden.flip(0), weight),
    )
