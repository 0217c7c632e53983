"""Checks of the full-vocabulary divergences and their objectives on numbers worked out by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from .material import WHOLE, batch_of, close, gradient, head_of, random_fields, refuses, tensor

LN3 = math.log(3)
# S = (3/4, 1/4), T = (1/2, 1/2), M = (5/8, 3/8), so S / M = (6/5, 2/3) and T / M = (4/5, 4/3)
REVERSE = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
FORWARD = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
JSD = (0.75 * math.log(6 / 5) + 0.25 * math.log(2 / 3) + 0.5 * math.log(4 / 5) + 0.5 * math.log(4 / 3)) / 2
VALUES = {"reverse-kl": REVERSE, "forward-kl": FORWARD, "jsd": JSD}
# slope in the first logit of S (that in the second is its opposite); a - (p a + q b) = q (a - b) for p + q = 1:
# reverse: 3/4 (ln(3/2) - KL) = 3/4 * 1/4 * (ln(3/2) - ln(1/2)).  forward: 3/4 - 1/2.
# jsd: half of 3/4 (ln(6/5) - KL(S || M)) = 3/4 * 1/4 * (ln(6/5) - ln(2/3))
SLOPES = {"reverse-kl": 3 / 16 * LN3, "forward-kl": 1 / 4, "jsd": 3 / 32 * math.log(9 / 5)}
ONE = torch.ones(1, 1, dtype=torch.bool)


def check_divergences_by_hand(algo: SimpleNamespace) -> None:
    logits, uniform = tensor([[[LN3, 0.0]]]).requires_grad_(), head_of(algo, tensor([[[7.0, 7.0]]]))
    for kind in WHOLE:
        value = algo.divergence.divergence(head_of(algo, logits), uniform, ONE, kind)
        close(value, [[VALUES[kind]]])
        close(gradient(value, logits), [[[SLOPES[kind], -SLOPES[kind]]]])
    # the other way round: S uniform, T = (3/4, 1/4)
    flat = tensor([[[7.0, 7.0]]]).requires_grad_()
    for kind, value, slope in (
        ("reverse-kl", FORWARD, -0.25 * LN3),  # 1/2 * 1/2 * (ln(2/3) - ln 2)
        ("forward-kl", REVERSE, -0.25),  # 1/2 - 3/4
        ("jsd", JSD, 0.125 * math.log(3 / 5)),  # 1/2 * 1/2 * (ln(4/5) - ln(4/3)), halved
    ):
        result = algo.divergence.divergence(head_of(algo, flat), head_of(algo, logits), ONE, kind)
        close(result, [[value]])
        close(gradient(result, flat), [[[slope, -slope]]])
    refuses(lambda: algo.divergence.divergence(uniform, uniform, ONE, "kl"), "kind must be")


def check_divergence_reads_temperature_and_bias(algo: SimpleNamespace) -> None:
    hidden = tensor([[[1.0]]]).requires_grad_()
    weight = tensor([[LN3], [LN3]]).requires_grad_()
    bias = tensor([LN3, -LN3]).requires_grad_()
    # logits (2 ln 3, 0) at temperature 2: S.  Teacher: (0, 0) + (ln 2, 0) at temperature 1/2, so T = (4/5, 1/5)
    student = algo.batch.Head(hidden, weight, bias, 2.0)
    teacher = algo.batch.Head(tensor([[[5.0]]]), tensor([[0.0], [0.0]]), tensor([math.log(2), 0.0]), 0.5)
    value = algo.divergence.divergence(student, teacher, ONE, "reverse-kl")
    close(value, [[0.75 * math.log(15 / 16) + 0.25 * math.log(5 / 4)]])
    # slope in the scaled logits: 3/16 (ln(15/16) - ln(5/4)) = 3/16 ln(3/4), halved by the temperature
    slope = 3 / 32 * math.log(3 / 4)
    close(gradient(value, bias), [slope, -slope])
    close(gradient(value, weight), [[slope], [-slope]])  # times hidden = 1
    close(gradient(value, hidden), [[[0.0]]])  # both rows of the weight are equal


def check_banned_words_count_nothing(algo: SimpleNamespace) -> None:
    """A word whose logit is minus infinity in both: the divergences of the other words, and no gradient to it."""
    hidden, weight = tensor([[[1.0]]]), torch.zeros(3, 1, dtype=torch.float64)
    bias = tensor([LN3, 0.0, -math.inf]).requires_grad_()
    uniform = algo.batch.Head(hidden, weight, tensor([7.0, 7.0, -math.inf]))
    for kind in WHOLE:
        value = algo.divergence.divergence(algo.batch.Head(hidden, weight, bias), uniform, ONE, kind)
        close(value, [[VALUES[kind]]])
        close(gradient(value, bias), [SLOPES[kind], -SLOPES[kind], 0.0])


def check_divergence_in_chunks(algo: SimpleNamespace) -> None:
    """The same value and gradient a token at a time, three at a time and all at once, and the formula's."""
    usual = algo.divergence.CHUNK
    try:
        for chunk in (1, 7 * 3, 10**6):
            algo.divergence.CHUNK = chunk
            for kind in WHOLE:
                student, teacher, mask, leaves = _heads(algo)
                ours = algo.divergence.divergence(student, teacher, mask, kind)
                theirs = torch.where(mask, _formula(student, teacher, kind), 0.0)
                weight = torch.arange(30, dtype=torch.float64).reshape(6, 5)
                close(ours, theirs)
                for leaf in leaves:
                    close(gradient(weight * ours, leaf), gradient(weight * theirs, leaf))
    finally:
        algo.divergence.CHUNK = usual


def check_divergence_of_far_distributions(algo: SimpleNamespace) -> None:
    # certain of different words, and of a third that neither says: no exp may overflow, no log of 0 may appear.
    # KL = 2000 nats either way, JSD = log 2
    logits = tensor([[[2000.0, 0.0, 0.0]]]).requires_grad_()
    other = head_of(algo, tensor([[[0.0, 2000.0, 0.0]]]))
    for kind, value in (("reverse-kl", 2000.0), ("forward-kl", 2000.0), ("jsd", math.log(2))):
        result = algo.divergence.divergence(head_of(algo, logits), other, ONE, kind)
        close(result, [[value]])
        assert gradient(result, logits).isfinite().all()


def check_divergence_in_half_precision(algo: SimpleNamespace) -> None:
    # hidden states in bfloat16 give float32 sums: the value is that of the rounded logits to float32's accuracy
    logits = torch.linspace(-1.0, 1.0, 11).bfloat16()[None, None]
    low, high = head_of(algo, logits), head_of(algo, logits.double())
    flat = algo.batch.Head(torch.zeros_like(logits), low.weight)
    for kind in WHOLE:
        value = algo.divergence.divergence(low, flat, ONE, kind)
        exact = algo.divergence.divergence(high, head_of(algo, torch.zeros(1, 1, 11).double()), ONE, kind)
        assert value.dtype == torch.float32 and exact.dtype == torch.float64
        close(value, exact, atol=1e-6)
        # under autocast the hidden states alone are rounded; bfloat16 holds the weights 0 and 1
        mixed = algo.batch.Head(logits, low.weight.float())
        close(algo.divergence.divergence(mixed, flat, ONE, kind), exact, atol=1e-6)


def check_objectives_weigh_each_token(algo: SimpleNamespace) -> None:
    logits = tensor([[[LN3, 0.0]] * 3]).requires_grad_()
    batch = batch_of(
        algo,
        torch.zeros(1, 3).double(),
        [[True, True, False]],
        student_head=head_of(algo, logits),
        teacher_head=head_of(algo, torch.zeros(1, 3, 2).double()),
    )
    for name in WHOLE:
        loss = algo.objectives.OBJECTIVES[name](batch, tensor([[0.5, 3.0, math.nan]]))
        close(loss, [[0.5 * VALUES[name], 3 * VALUES[name], 0.0]])
        slope = SLOPES[name]
        close(gradient(loss, logits), [[[0.5 * slope, -0.5 * slope], [3 * slope, -3 * slope], [0.0, 0.0]]])


def check_heads_of_the_teacher_carry_no_gradient(algo: SimpleNamespace) -> None:
    fields = random_fields(0)
    student, teacher, mask, _ = _heads(algo)
    live = [part.clone().requires_grad_() for part in (teacher.hidden, teacher.weight, teacher.bias)]
    teacher = algo.batch.Head(*live, teacher.temperature)
    sampled = fields["teacher"].requires_grad_()
    batch = algo.batch.TokenBatch(**{**fields, "mask": mask}, student_head=student, teacher_head=teacher)
    for name in WHOLE:
        loss = algo.objectives.OBJECTIVES[name](batch, algo.gates.gap_gate(batch, 3.0))
        assert gradient(loss, student.hidden).abs().max() > 1e-3
        for leaf in (*live, sampled):
            close(gradient(loss, leaf), torch.zeros_like(leaf))


def check_a_gate_of_the_same_logits_is_detached(algo: SimpleNamespace) -> None:
    """The sampled log-probs of a live gate hang on the student's head too; only the divergence may move it."""
    taken = torch.zeros(1, 1, 1, dtype=torch.long)
    logits = tensor([[[LN3, 0.0]]]).requires_grad_()
    batch = batch_of(
        algo,
        logits.log_softmax(-1).gather(-1, taken)[..., 0],
        teacher=tensor([[math.log(0.5)]]),
        student_head=head_of(algo, logits),
        teacher_head=head_of(algo, torch.zeros(1, 1, 2).double()),
    )

    def live_gate(tokens: Any, beta: float) -> Tensor:
        return torch.sigmoid(beta * (tokens.teacher - tokens.student))

    # the gap of the first token is ln(2/3): sigmoid = (2/3) / (5/3) = 2/5
    for gate in ("gap", live_gate):
        for name in WHOLE:
            how = {"gate": gate, "objective": name, "beta": 1.0, "weights": tensor([[2.0]])}
            loss, sums = algo.distill.distillation(batch, **how)
            close(loss, 2 * 0.4 * VALUES[name])
            close(sums["loss_sum"], 2 * 0.4 * VALUES[name])
            close(gradient(loss, logits), [[[0.8 * SLOPES[name], -0.8 * SLOPES[name]]]])


def check_nothing_leaks_from_under_the_mask_of_heads(algo: SimpleNamespace) -> None:
    student, teacher, mask, leaves = _heads(algo)
    weight = torch.rand(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for junk in (math.nan, math.inf, -math.inf):
        spoilt = torch.where(mask[..., None], leaves[0], junk).detach().requires_grad_()
        dirty = algo.batch.Head(spoilt, student.weight, student.bias, student.temperature)
        other = algo.batch.Head(
            torch.where(mask[..., None], teacher.hidden, junk), teacher.weight, teacher.bias, teacher.temperature
        )
        for name in WHOLE:
            results = []
            for s, t, w in ((student, teacher, weight), (dirty, other, torch.where(mask, weight, junk))):
                batch = batch_of(algo, torch.zeros(6, 5).double(), mask, student_head=s, teacher_head=t)
                loss = algo.objectives.OBJECTIVES[name](batch, w)
                assert (loss[~mask] == 0).all()
                results.append([loss, *(gradient(loss, leaf) for leaf in (s.hidden, *leaves[1:]))])
            for clean, got in zip(*results, strict=True):
                close(got, clean)


def check_missing_heads_are_requested(algo: SimpleNamespace) -> None:
    head = head_of(algo, torch.zeros(1, 1, 2).double())
    for has in ({}, {"student_head": head}, {"teacher_head": head}):
        batch = batch_of(algo, torch.zeros(1, 1).double(), **has)
        for name in WHOLE:
            loss = algo.objectives.OBJECTIVES[name]
            refuses(lambda loss=loss, batch=batch: loss(batch, torch.ones(1, 1)), f"{name} needs the heads")


def check_which_objectives_need_heads(algo: SimpleNamespace) -> None:
    def own(batch: Any, weight: Tensor) -> Tensor:
        return weight

    needing = [name for name, loss in algo.objectives.OBJECTIVES.items() if algo.objectives.needs_heads(loss)]
    assert needing == list(WHOLE)
    assert not algo.objectives.needs_heads(own)
    own.full_vocabulary = True  # type: ignore[attr-defined]
    assert algo.objectives.needs_heads(own)


def _heads(algo: SimpleNamespace) -> tuple[Any, Any, Tensor, list[Tensor]]:
    """Student with leaves (hidden, weight, bias), teacher of another width, a ragged mask; 7 words."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    leaves = [noise(6, 5, 3).requires_grad_(), noise(7, 3).requires_grad_(), noise(7).requires_grad_()]
    student = algo.batch.Head(*leaves, 0.7)
    teacher = algo.batch.Head(noise(6, 5, 4), noise(7, 4), noise(7), 1.3)
    return student, teacher, torch.arange(5) < torch.tensor([5, 1, 3, 2, 4, 0])[:, None], leaves


def _formula(student: Any, teacher: Any, kind: str) -> Tensor:
    """The divergence with all logits at once."""
    s, t = (((h.hidden @ h.weight.T + h.bias) / h.temperature).log_softmax(-1) for h in (student, teacher))
    pairs = {"reverse-kl": [(s, t)], "forward-kl": [(t, s)]}
    m = ((s.exp() + t.exp()) / 2).log()
    both = pairs.get(kind, [(s, m), (t, m)])
    return torch.stack([(p.exp() * (p - q)).sum(-1) for p, q in both]).mean(0)


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]
