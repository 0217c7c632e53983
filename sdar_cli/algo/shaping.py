"""Advantage shaping: the teacher reshapes the policy gradient instead of adding a loss of its own.

A shaping maps (batch, coef, clip) to per-token advantages (R, T) without gradient.  It sees the whole step at once
(every turn of every trajectory), with the log-probs of the sampling policy as ``student``; at ``coef`` 0 it must return
the advantages as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sdar_cli.algo.batch import TokenBatch, gap, hide

Shaping = Callable[[TokenBatch, float, float], Tensor]

DISCOUNT = 0.95  # gamma of AgentOPSD's evidence (paper; a public implementation has 1)
PRIOR_MARGIN = 1e-3  # keeps logit(B_0) finite


def rlsd(batch: TokenBatch, coef: float, clip: float) -> Tensor:
    """A_t * ((1 - coef) + coef * clip(exp(sign(A_t) * Delta_t), 1 - clip, 1 + clip)), (R, T) (Algorithm 6; 2604.03128).

    The verifier gives the direction, the teacher the size: the sign of A never changes.  Delta_t is the gap to the
    sampling policy; a good token (A > 0) that the teacher endorses counts more, a bad one it endorses counts less.
    """
    advantage = per_token_advantage(batch)
    factor = torch.exp(torch.sign(advantage) * gap(batch)).clamp(1 - clip, 1 + clip)
    return advantage * ((1 - coef) + coef * factor)


def belief(batch: TokenBatch, coef: float, clip: float) -> Tensor:
    """A_t * ((1 - coef) + coef * w_k), (R, T), k the turn of token t: AgentOPSD (2608.05987).

    The turns of a trajectory revise a belief that it will succeed: e_k sums the gaps of turn k, c_k = DISCOUNT c_{k-1}
    + e_k, B_k = sigmoid(logit(B_0) + c_k), B_0 the success rate of the group.  A revision that agrees with the outcome
    counts more: q_k = sign(A) (B_k - B_{k-1}), standardised over the turns of the trajectory (population deviation) to
    z_k; w_k = clip(1 + clip * z_k, 1 - clip, 1 + clip).  A trajectory of one turn keeps its advantage.
    """
    advantage, owner_RT, size = per_token_advantage(batch), *_turn_slots(batch)
    evidence = _per_turn(gap(batch), batch, owner_RT, size)
    sign = torch.sign(_per_turn(advantage, batch, owner_RT, size))
    weight_K = torch.ones_like(evidence)
    prior = _group_success(batch).clamp(PRIOR_MARGIN, 1 - PRIOR_MARGIN)
    for trajectory in torch.unique(batch.trajectory_ids):
        rows = batch.trajectory_ids == trajectory
        turns = torch.unique(owner_RT[rows][batch.mask[rows]])  # in order of time
        if len(turns) < 2:
            continue
        start = torch.logit(prior[rows][0])
        beliefs, carried = [torch.sigmoid(start)], torch.zeros_like(start)
        for turn in turns:
            carried = DISCOUNT * carried + evidence[turn]
            beliefs.append(torch.sigmoid(start + carried))
        q = sign[turns] * torch.diff(torch.stack(beliefs))
        z = (q - q.mean()) / (q.std(unbiased=False) + 1e-6)
        weight_K[turns] = (1 + clip * z).clamp(1 - clip, 1 + clip).to(weight_K.dtype)
    return advantage * ((1 - coef) + coef * hide(weight_K[owner_RT], batch.mask))


def grsd(batch: TokenBatch, coef: float, clip: float) -> Tensor:
    """A_t * max(1 + coef * g_k, 0.1), (R, T), k the turn of token t: the modulation of GRSD (2607.28076).

    q_k = sign(A) * the mean gap of turn k; g_k = expm1(q_k) over the mean |expm1(q)| of all turns of the group, within
    +-3.  Only groups with both a success and a failure are changed.  ``clip`` has no effect.  The contrastive teacher
    text of GRSD is not part of this: any view serves.
    """
    advantage, owner_RT, size = per_token_advantage(batch), *_turn_slots(batch)
    tokens = _per_turn(torch.ones_like(advantage), batch, owner_RT, size).clamp(min=1)
    sign = torch.sign(_per_turn(advantage, batch, owner_RT, size))
    credit = torch.expm1((sign * _per_turn(gap(batch), batch, owner_RT, size) / tokens).clamp(-20, 20))
    rate = _group_success(batch)
    factor_K = torch.ones_like(credit)
    for group in torch.unique(batch.group_ids):
        rows = (batch.group_ids == group) & batch.mask.any(dim=1)
        if not rows.any() or not 0 < float(rate[rows][0]) < 1:
            continue
        turns = torch.unique(owner_RT[rows][batch.mask[rows]])
        scaled = credit[turns] / (credit[turns].abs().mean() + 1e-6)
        factor_K[turns] = (1 + coef * scaled.clamp(-3, 3)).clamp(min=0.1)
    return advantage * hide(factor_K[owner_RT], batch.mask)


def t_dur(batch: TokenBatch, coef: float, clip: float) -> Tensor:
    """A_t + coef * w_k * Delta_t, (R, T), k the turn of token t: ATOD's turn weight (2606.27814, Eqs. 10 to 16).

    d_k = mean |Delta_t| of the turn (disagreement), h_k = mean -log pi of its sampled tokens (uncertainty), each scaled
    to [0, 1] over the turns of the trajectory (1/2 where they are equal); w_k = 1 - (1 - d_k)(1 - h_k).  Weight 1 in a
    trajectory of fewer than 3 turns or with every d_k below 0.01 (code).  The sign of A may change.  ``clip`` has no
    effect.  ATOD's teacher is a larger model; here it is any view of the policy's own.
    """
    advantage, owner_RT, size = per_token_advantage(batch), *_turn_slots(batch)
    tokens = _per_turn(torch.ones_like(advantage), batch, owner_RT, size).clamp(min=1)
    disagreement = _per_turn(gap(batch).abs(), batch, owner_RT, size) / tokens
    uncertainty = _per_turn(-batch.visible("student").detach(), batch, owner_RT, size) / tokens
    weight_K = torch.ones_like(tokens)
    for trajectory in torch.unique(batch.trajectory_ids):
        rows = batch.trajectory_ids == trajectory
        turns = torch.unique(owner_RT[rows][batch.mask[rows]])
        if len(turns) < 3 or float(disagreement[turns].max()) < 0.01:
            continue
        d, h = _unit_range(disagreement[turns]), _unit_range(uncertainty[turns])
        weight_K[turns] = (1 - (1 - d) * (1 - h)).to(weight_K.dtype)
    return advantage + coef * hide(weight_K[owner_RT], batch.mask) * gap(batch)


def per_token_advantage(batch: TokenBatch) -> Tensor:
    """The batch's advantage as (R, T), detached, 0 at masked positions.  Raises ValueError without advantages."""
    if batch.advantage is None:
        raise ValueError("this batch has no advantages to shape")
    advantage = batch.advantage[:, None] if batch.advantage.dim() == 1 else batch.advantage
    return hide(advantage.expand(batch.mask.shape), batch.mask).detach()


def _turn_slots(batch: TokenBatch) -> tuple[Tensor, int]:
    """(slot of every token's turn (R, T), number of slots): one slot per (trajectory, turn), in order of turns."""
    _, trajectory_R = torch.unique(batch.trajectory_ids, return_inverse=True)
    turns = torch.where(batch.mask, batch.turns, 0)
    longest = int(turns.max()) + 1
    return trajectory_R[:, None] * longest + turns, (int(trajectory_R.max()) + 1) * longest


def _per_turn(values: Tensor, batch: TokenBatch, slots: Tensor, size: int) -> Tensor:
    """Sum of (R, T) values over the unmasked tokens of every turn, (size,)."""
    return values.new_zeros(size).index_add(0, slots[batch.mask], values[batch.mask])


def _group_success(batch: TokenBatch) -> Tensor:
    """Share of the group's trajectories that reached their goal, for every row, (R,)."""
    if batch.success is None:
        raise ValueError("this batch does not say which trajectories succeeded")
    rate = torch.zeros_like(batch.student[:, 0])
    for group in torch.unique(batch.group_ids):
        rows = (batch.group_ids == group) & batch.mask.any(dim=1)  # fillers belong to no trajectory
        won = batch.trajectory_ids[rows & batch.success.bool()]
        rate[rows] = len(torch.unique(won)) / max(1, len(torch.unique(batch.trajectory_ids[rows])))
    return rate


def _unit_range(values: Tensor) -> Tensor:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high - low > 1e-8 else torch.full_like(values, 0.5)


SHAPINGS: dict[str, Shaping] = {
    "rlsd": rlsd,
    "belief": belief,
    "grsd": grsd,
    "t-dur": t_dur,
}
