"""``sdar probe``: its statistics by hand and its gradients against a plain softmax."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import toy

from sdar_cli.envs.alfworld.games.layout import TASK_TYPES
from sdar_cli.rollout.samples import Sample
from sdar_cli.session import Session
from sdar_cli.train import gradients, score
from sdar_cli.train.gradients import ESTIMATORS, EXACT, POLICY, TURN_SUMS, estimators_with, task_gradients
from sdar_cli.train.probe import compare, halves_of, probing
from sdar_cli.train.trainer import SDARTrainer
from train.material import handmade_rows, weighted

NAMES = [estimator.name for estimator in ESTIMATORS]
BETA = 2.0


# Statistics -----------------------------------------------------------------------------------------------------------

HALVES = np.array([0, 1, 0, 1])
VECTORS = np.array(
    [  # policy, an estimator, the exact gradient: four tasks each, in the plane
        [(0, 1), (0, 0), (0, 1), (0, 1)],
        [(1, 0), (1, 0), (0, 1), (1, 0)],
        [(3, 0), (0, 2), (1, 0), (0, 2)],
    ],
    dtype=float,
)
WEIGHTS = np.array([1.0, 1.0, 2.0, 2.0])


def compared(vectors=VECTORS, halves=HALVES, weights=WEIGHTS, seed=0, resamples=400) -> list[dict[str, Any]]:
    gram = np.einsum("etw,fuw->etfu", vectors, vectors)
    return compare(gram, halves, weights, policy=0, exact=2, resamples=resamples, seed=seed)


def test_statistics_by_hand() -> None:
    """The estimator's halves are (1, 0) + (0, 1) = (1, 1) and (1, 0) + (1, 0) = (2, 0)."""
    policy, found, exact = compared()
    assert found["between_halves"]["cosine"] == pytest.approx(2 / (2**0.5 * 2))
    # The exact gradient's halves are (4, 0) and (0, 4): cos((1, 1), (0, 4)) = sqrt(1/2), cos((2, 0), (4, 0)) = 1.
    assert found["with_exact"]["cosine"] == pytest.approx((0.5**0.5 + 1) / 2)
    # Whole batch: (3, 1) over a weight of 6; the policy gradient is (0, 3) over 6.
    assert found["norm"] == pytest.approx(10**0.5 / 6)
    assert found["with_policy"] == pytest.approx(3 / (10**0.5 * 3))
    assert found["equal_norm_coef"] == pytest.approx(3 / 10**0.5)
    assert (policy["norm"], policy["with_policy"], policy["equal_norm_coef"]) == pytest.approx((0.5, 1.0, 1.0))
    assert exact["between_halves"]["cosine"] == 0.0 and exact["with_exact"]["cosine"] == 0.0


def test_intervals_by_hand() -> None:
    """Half 0 draws (2, 0), (1, 1) twice as often, or (0, 2); half 1 always (2, 0): cosines 1, 0.71, 0.71 and 0."""
    policy, found, exact = compared()
    assert (found["between_halves"]["low"], found["between_halves"]["high"]) == (0.0, 1.0)
    assert found["noise"] and exact["noise"]
    # The policy's half 1 is (0, 2), (0, 1) or, in a quarter of the draws, nothing: that counts as 0.
    assert policy["between_halves"] == {"cosine": 1.0, "low": 0.0, "high": 1.0} and policy["noise"]
    aligned = VECTORS.copy()
    aligned[1] = [(1, 0), (2, 0), (1, 1), (2, 1)]  # any draw of one half is within 45 degrees of the other's
    record = compared(aligned)[1]
    assert record["between_halves"]["low"] >= 0.5**0.5 - 1e-9 and not record["noise"]


def test_the_bootstrap_is_seeded_and_shared() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(3, 12, 5)) + 0.5
    vectors[1] = 3.0 * vectors[2]  # the same direction: the same draws must give it the same cosines
    halves, weights = np.arange(12) % 2, np.ones(12)
    first, again, other = (compared(vectors, halves, weights, seed) for seed in (0, 0, 1))
    assert first == again
    assert first[1]["between_halves"] != other[1]["between_halves"]
    for key in ("between_halves", "with_exact"):
        assert first[1][key] == pytest.approx(first[2][key])
    assert first[1]["equal_norm_coef"] == pytest.approx(first[2]["equal_norm_coef"] / 3)
    assert -1 <= first[1]["between_halves"]["low"] < first[1]["between_halves"]["high"] <= 1


@pytest.mark.parametrize("scale", [0.0, 1e-7], ids=["zero", "rounding"])
def test_what_is_no_gradient_has_no_direction(scale: float) -> None:
    vectors = VECTORS.copy()
    vectors[0] *= scale
    policy, found, _ = compared(vectors)
    assert policy["between_halves"] is None and policy["with_exact"] is None and policy["noise"]
    assert found["with_policy"] is None and found["equal_norm_coef"] is None
    assert found["between_halves"] is not None
    without_exact = VECTORS.copy()
    without_exact[2] *= scale
    assert [record["with_exact"] for record in compared(without_exact)] == [None] * 3
    assert all(record["noise"] for record in compared(0 * VECTORS))


def test_halves_share_every_type() -> None:
    """Also where the types come in turn, as in a step's order: then every other task is always of the same types."""
    for count in (12, 14):  # two tasks of a type; of the first two types three
        tasks = [toy.task(n % 3, n, TASK_TYPES[n % 6]) for n in range(count)]
        for order in (tasks, sorted(tasks, key=lambda t: t.id), tasks[3:] + tasks[:3]):
            halves = halves_of(order)
            assert sorted(np.bincount(halves)) == [count // 2, count // 2]
            for half in (0, 1):
                assert {t.type for t, h in zip(order, halves, strict=True) if h == half} == set(TASK_TYPES)


# Gradients ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """These tensors are too small to share out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trainer_of(config, model, tokenizer, folder) -> SDARTrainer:
    peft = Session.peft_config(SimpleNamespace(config=config))  # type: ignore[arg-type]
    unused = lambda *arguments: None  # noqa: E731
    return SDARTrainer(probing(config), copy.deepcopy(model), tokenizer, folder, unused, unused, peft)  # type: ignore[arg-type]


def groups_of(rows: list[Sample]) -> list[list[Sample]]:
    return [[row for row in rows if row.group == g] for g in sorted({row.group for row in rows})]


def settings(**sections: Any) -> Any:
    sections["train"] = {"micro_batch": 2, **sections.get("train", {})}
    return toy.config(**sections)


def flat(gradient: Any) -> torch.Tensor:
    return torch.cat([g.flatten() for g in gradient])


def by_hand(model, rows: list[Sample], agg: str) -> dict[str, torch.Tensor]:
    """Every estimator's gradient on all rows at once: one row at a time, a plain softmax, means by their definition."""
    terms: dict[str, list[torch.Tensor]] = {name: [] for name in NAMES}
    sizes = []
    for row in rows:
        mask = torch.tensor(row.mask)
        log_s = log_softmax(model, row.prompt_ids, row)[mask]
        with torch.no_grad():
            log_t = log_softmax(model, row.teacher_prompts[0], row)[mask]
        ids = torch.tensor(row.response_ids)[mask][:, None]
        s, t = log_s.gather(1, ids)[:, 0], log_t.gather(1, ids)[:, 0]
        gap, h = (t - s).detach(), -(log_s.exp() * log_s).sum(-1).detach()
        gate = torch.sigmoid(BETA * gap)
        log_m = torch.log((log_s.exp() + log_t.exp()) / 2)
        kl = lambda p, q: (p.exp() * (p - q)).sum(-1)  # noqa: E731
        values = {
            "policy gradient": -torch.tensor(row.advantage)[mask] * s,
            "gap gate": -gate * s,
            "gap gate - 1/2": -(gate - 0.5) * s,
            "entropy gate": -torch.sigmoid(BETA * h) * s,
            "soft-or gate": -torch.sigmoid(BETA * (h + gap - h * gap)) * s,
            "no gate": -s,
            "signed": -gap * s,
            "k3": torch.exp(s - s.detach()) * (torch.exp(t - s) - 1 - (t - s)),
            "reverse-kl": kl(log_s, log_t),
            "forward-kl": kl(log_t, log_s),
            "jsd": (kl(log_s, log_m) + kl(log_t, log_m)) / 2,
        }
        sizes.append(len(s))
        for name, value in values.items():
            terms[name].append(value.sum() if agg == "token" else value.mean())
    count = sum(sizes) if agg == "token" else len(rows)
    parameters = list(model.parameters())
    return {
        name: flat(torch.autograd.grad(torch.stack(parts).sum() / count, parameters, retain_graph=True))
        for name, parts in terms.items()
    }


def log_softmax(model, prompt: list[int], row: Sample) -> torch.Tensor:
    logits = model(input_ids=torch.tensor([[*prompt, *row.response_ids]])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits, dim=-1)


@pytest.mark.parametrize("agg, masked", [("token", False), ("turn", True)])
def test_every_gradient_is_that_of_the_loss_on_all_tasks_at_once(model, tokenizer, tmp_path, agg, masked) -> None:
    """The tasks' sums over the sum of their weights, in micro-batches of 2, against one loss without any of it."""
    config = settings(algo={"agg": agg})
    rows, normaliser = weighted(handmade_rows(masked=masked), agg)
    expected = by_hand(model, rows, agg)
    trainer = trainer_of(config, model, tokenizer, tmp_path)
    done: list[int] = []
    found = task_gradients(trainer, groups_of(rows), ESTIMATORS, BETA, 0, done.append)
    assert sum(done) == len(rows) and found.sketch is None
    assert found.weights.sum() == pytest.approx(normaliser)
    scale = {name: float(expected[name].norm()) for name in NAMES}
    assert min(scale.values()) > 1e-3, "nothing to compare"
    for index, name in enumerate(NAMES):
        ours = found.vectors[index].sum(0) / found.weights.sum()
        assert float((ours - expected[name]).norm()) < 2e-4 * scale[name], name


def test_the_policy_term_is_that_of_the_trainer(model, tokenizer, tmp_path) -> None:
    """GRPO's own gradient: the first update of a training with no distillation term."""
    from train.material import train

    rows = handmade_rows()
    config = settings(algo={"coef": 0.0})
    trained = train(config, model, rows, tmp_path / "train", tokenizer).gradients[0]
    copies, normaliser = weighted(rows)
    found = task_gradients(trainer_of(config, model, tokenizer, tmp_path), groups_of(copies), [POLICY], BETA, 0)
    torch.testing.assert_close(found.vectors[0].sum(0) / normaliser, flat(trained.values()), rtol=1e-4, atol=1e-6)


def test_the_gap_gate_is_its_centred_form_and_half_of_none(model, tokenizer, tmp_path) -> None:
    rows, _ = weighted(handmade_rows())
    found = task_gradients(trainer_of(settings(), model, tokenizer, tmp_path), groups_of(rows), ESTIMATORS, BETA, 0)
    gate, centred, constant = (found.vectors[NAMES.index(n)] for n in ("gap gate", "gap gate - 1/2", "no gate"))
    torch.testing.assert_close(gate, centred + constant / 2, rtol=1e-4, atol=1e-5)
    assert float(centred.abs().max()) > 0.01


def test_both_heads_and_checkpointing_change_nothing(model, tokenizer, tmp_path, monkeypatch) -> None:
    """The graph of a forward pass is walked once per estimator, whichever way it was made."""
    found = []
    for name, fused, sections in [
        ("plain", False, {}),
        ("fused", True, {}),
        ("checkpointed", False, {"model": {"gradient_checkpointing": True}}),
    ]:
        rows, _ = weighted(handmade_rows(masked=True))
        monkeypatch.setattr(score, "DENSE_LOGITS", 0 if fused else 2**26)
        trainer = trainer_of(settings(**sections), model, tokenizer, tmp_path / name)
        found.append(task_gradients(trainer, groups_of(rows), ESTIMATORS, BETA, 0).vectors)
        assert not trainer.model.training
        assert trainer.model.is_gradient_checkpointing is (name == "checkpointed")
    for other in found[1:]:
        assert float((other - found[0]).norm()) < 1e-4 * float(found[0].norm())


def test_a_teacher_that_sees_the_same_says_nothing(model, tokenizer, tmp_path) -> None:
    rows, _ = weighted([replace(row, teacher_prompts=[row.prompt_ids]) for row in handmade_rows()])
    found = task_gradients(trainer_of(settings(), model, tokenizer, tmp_path), groups_of(rows), ESTIMATORS, BETA, 0)
    sizes = {name: float(found.vectors[i].norm()) for i, name in enumerate(NAMES)}
    for name in ("signed", "reverse-kl", "forward-kl", "jsd", "gap gate - 1/2"):
        assert sizes[name] < 1e-5 * sizes["no gate"], name
    assert sizes["gap gate"] == pytest.approx(sizes["no gate"] / 2, rel=1e-4)


def test_only_the_adapter_counts_and_no_weight_moves(model, tokenizer, tmp_path) -> None:
    """B is 0 in a new adapter, so A has no gradient yet."""
    rows, _ = weighted(handmade_rows())
    config = settings(model={"lora": {"rank": 2, "targets": "q_proj", "dropout": 0.5}})
    trainer = trainer_of(config, model, tokenizer, tmp_path)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    found = task_gradients(trainer, groups_of(rows), ESTIMATORS, BETA, 0)
    again = task_gradients(trainer, groups_of(rows), ESTIMATORS, BETA, 0)
    assert torch.equal(found.vectors, again.vectors), "dropout is off"
    sizes = {name: p.numel() for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert found.parameters == sum(sizes.values()) == 2 * 2 * (32 + 32)
    parts = dict(zip(sizes, found.vectors[NAMES.index("reverse-kl")].split(list(sizes.values()), dim=-1), strict=True))
    for name, part in parts.items():
        assert bool(part.any()) is ("lora_B" in name), name
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    assert all(p.grad is None for p in trainer.model.parameters())


def test_a_sketch_keeps_inner_products(model, tokenizer, tmp_path, monkeypatch) -> None:
    """Within a few |x| |y| / sqrt(D); 34,016 parameters in pieces of 999, 8,192 sums."""
    exact, sketched = [], []
    for store, memory in ((exact, 2**30), (sketched, 0)):
        monkeypatch.setattr(gradients, "MEMORY", memory)
        monkeypatch.setattr(gradients, "BUCKETS", 8192)
        monkeypatch.setattr(gradients, "PIECE", 999)
        rows, _ = weighted(handmade_rows())
        trainer = trainer_of(settings(), model, tokenizer, tmp_path)
        store.append(task_gradients(trainer, groups_of(rows), ESTIMATORS, BETA, 0))
    assert exact[0].sketch is None and sketched[0].sketch == 8192
    assert sketched[0].vectors.shape[-1] == 8192 and sketched[0].parameters == 34_016
    size = len(NAMES) * 2
    true, found = (each[0].gram().reshape(size, size) for each in (exact, sketched))
    norms = np.sqrt(np.diag(true))
    error = (found - true) / np.outer(norms, norms)
    assert 1e-4 < np.abs(error).max() < 6 / 8192**0.5
    flat_vectors = exact[0].vectors.reshape(size, -1).double()
    np.testing.assert_allclose(true, (flat_vectors @ flat_vectors.T).numpy(), rtol=1e-9, atol=1e-9 * true.max())


def test_a_sketch_hashes_every_coordinate_with_a_sign(monkeypatch) -> None:
    monkeypatch.setattr(gradients, "MEMORY", 0)
    monkeypatch.setattr(gradients, "BUCKETS", 64)
    monkeypatch.setattr(gradients, "PIECE", 7)
    compress = gradients.Compressor([20, 30], 1, seed=3)
    basis = torch.eye(50)
    images = torch.stack([compress([row[:20].reshape(4, 5), row[20:]]) for row in basis])
    assert images.shape == (50, 64) and bool((images.abs().sum(1) == 1).all())
    assert {-1.0, 1.0} == set(images.sum(1).tolist()) and len(images.abs().argmax(1).unique()) > 25
    x = torch.randn(50)
    torch.testing.assert_close(compress([x[:20], x[20:]]), x @ images)
    torch.testing.assert_close(compress([None, x[20:]]), x[20:] @ images[20:])
    assert not compress([None, None]).any()


def test_gaps_and_gates_by_turn(model, tokenizer, tmp_path) -> None:
    """Sums over every token of a turn, wherever it was batched."""
    rows, _ = weighted(handmade_rows(masked=True))
    trainer = trainer_of(settings(), model, tokenizer, tmp_path)
    found = task_gradients(trainer, groups_of(rows), [POLICY], BETA, 0)
    assert found.turns.shape == (7, len(TURN_SUMS))
    with torch.no_grad():
        for k, row in enumerate(rows):  # row k is turn k
            mask, ids = torch.tensor(row.mask), torch.tensor(row.response_ids)[:, None]
            log_s, log_t = (log_softmax(model, p, row)[mask] for p in (row.prompt_ids, row.teacher_prompts[0]))
            gap = (log_t - log_s).gather(1, ids[mask])[:, 0]
            h = -(log_s.exp() * log_s).sum(-1)
            expected = [len(gap), gap.sum(), gap.abs().sum(), (gap < 0).sum(), (gap > 0.02).sum()]
            expected += [torch.sigmoid(BETA * x).sum() for x in (gap, h, h + gap - h * gap)]
            expected += [(gap > 0).sum()]
            assert found.turns[k].tolist() == pytest.approx([float(x) for x in expected], abs=1e-3)
    every = gradients.turn_statistics(found.turns.sum(0))
    assert every["tokens"] == sum(map(sum, (row.mask for row in rows)))
    assert gradients.turn_statistics(torch.zeros(len(TURN_SUMS)))["gap_mean"] is None


def test_the_configured_loss_is_added_where_it_is_unusual() -> None:
    assert estimators_with("gap", "surrogate") == (list(ESTIMATORS), 1)
    assert estimators_with("none", "jsd") == (list(ESTIMATORS), NAMES.index("jsd"))
    ours = f"{__name__}:half"
    found, own = estimators_with(ours, "k1", {"share": 0.5})
    assert found[own].gate == ours and found[own].weigh(torch.ones(2, 3), 1.0).tolist() == [[0.5] * 3] * 2
    found, own = estimators_with("gap", "k1")
    assert own == len(ESTIMATORS) and (found[own].gate, found[own].objective) == ("gap", "k1")
    assert found.index(POLICY) == 0 and EXACT in found


def half(batch, beta, *, share: float):
    """A gate of a guest."""
    return share * batch
