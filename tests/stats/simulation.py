"""A world in which the truth is known: seeds of methods play tasks of unequal difficulty.

The chance of seed s of method m on task t is sigmoid(base_m + task_t + seed_ms + shared_s + both_mst), all normal on
the logit scale.  ``both`` is what one seed has learned of one task; ``shared`` the luck of a seed's training tasks, the
same for all methods.  A checkpoint is a seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TASK_SD, BOTH_SD, TASKS = 1.5, 0.5, 134


@dataclass(frozen=True)
class World:
    """N simulated studies: outcomes (N, M, S, T), each method's true success, on the panel drawn (N, M) and on all
    tasks (M)."""

    outcomes: np.ndarray
    on_panel: np.ndarray
    overall: np.ndarray


def simulate(
    studies: int,
    seeds: int,
    seed_sd: float,
    bases: tuple[float, ...] = (0.0, 0.0),
    plays: int = 1,
    rng_seed: int = 0,
    shared_sd: float = 0.0,
) -> World:
    """With ``plays`` above one, outcomes are counts of wins."""
    rng = np.random.default_rng(rng_seed)
    methods = len(bases)
    base = np.array(bases)[:, None, None]
    task = rng.normal(0, TASK_SD, (studies, 1, 1, TASKS))
    own = rng.normal(0, seed_sd, (studies, methods, seeds, 1))
    shared = np.random.default_rng([rng_seed, 1]).normal(0, shared_sd, (studies, 1, seeds, 1))
    both = rng.normal(0, BOTH_SD, (studies, methods, seeds, TASKS))
    outcomes = rng.binomial(plays, sigmoid(base + task + own + shared + both))
    inner = float(np.hypot(np.hypot(seed_sd, shared_sd), BOTH_SD))
    on_panel = expected((base + task)[:, :, 0, :], inner).mean(axis=2)
    return World(outcomes, on_panel, expected(np.array(bases), float(np.hypot(inner, TASK_SD))))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def expected(logit: np.ndarray, sd: float) -> np.ndarray:
    """E sigmoid(logit + sd Z) by Gauss and Hermite."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(31)
    return sigmoid(logit[..., None] + sd * nodes) @ (weights / weights.sum())
