"""Full-vocabulary objectives through the trainer, against the naive formulas from all logits."""

from __future__ import annotations

import copy
import itertools
import math
import sys
from collections.abc import Sequence
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from sdar_cli.base.errors import ConfigError
from sdar_cli.rollout.samples import Sample
from sdar_cli.train import score as ours

from .material import (
    assert_same,
    distribution,
    forward,
    gradient_of,
    handmade_rows,
    mean_over,
    policy_terms,
    prepare,
    settings,
    train,
    with_weights,
)

KINDS = ("reverse-kl", "forward-kl", "jsd")
LORA = {"lora": {"rank": 4, "alpha": 8.0}}


@pytest.fixture(scope="module")
def untied(model):
    """The same with an output layer of its own."""
    made = type(model)(type(model.config)(**{**model.config.to_dict(), "tie_word_embeddings": False}))
    made.load_state_dict(model.state_dict())
    head = made.get_output_embeddings()
    with torch.no_grad():
        head.weight.add_(0.1 * torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(1)))
    assert head.weight is not made.get_input_embeddings().weight
    return made.eval()


@pytest.fixture(params=["dense", "fused"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to score tokens: all logits of the response at once, and TRL's fused head."""
    if request.param == "fused":
        monkeypatch.setattr(ours, "DENSE_LOGITS", 0)
        monkeypatch.setattr(ours, "dense_logps", None)  # an error where it is used all the same
    return request.param


def naive(kind: str, log_s: Tensor, log_t: Tensor) -> Tensor:
    """The divergence per token by its definition, (T,), from log-probabilities (T, V)."""
    s, t = log_s.exp(), log_t.exp()
    if kind == "reverse-kl":
        return (s * (log_s - log_t)).sum(-1)
    if kind == "forward-kl":
        return (t * (log_t - log_s)).sum(-1)
    log_m = ((s + t) / 2).log()
    return ((s * (log_s - log_m)).sum(-1) + (t * (log_t - log_m)).sum(-1)) / 2


def chosen(row: Sample, log_p: Tensor) -> Tensor:
    return log_p.gather(1, torch.tensor(row.response_ids)[:, None])[:, 0]


def taught(model: nn.Module, rows: Sequence[Sample], temperature: float = 1.0) -> list[Tensor]:
    """log softmax of the teacher at every token of every row, without gradient."""
    with torch.no_grad():
        return [distribution(model, row.teacher_prompts[0], row, temperature) for row in rows]


def hand_written(
    kind: str, gate: str, model: nn.Module, rows: Sequence[Sample], teacher: Sequence[Tensor], temperature: float = 1.0
) -> tuple[list[Tensor], list[Tensor]]:
    """Per row: the student's log-probs and the gated divergences, both with gradient."""
    students, terms = [], []
    for row, log_t in zip(rows, teacher, strict=True):
        log_s = distribution(model, row.prompt_ids, row, temperature)
        students.append(chosen(row, log_s))
        weight = torch.sigmoid(2.0 * (chosen(row, log_t) - students[-1]).detach()) if gate == "gap" else 1.0
        terms.append(weight * naive(kind, log_s, log_t))
    return students, terms


@pytest.mark.parametrize("gate", ["none", "gap"])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_are_the_naive_formulas(model, tokenizer, tmp_path, path, kind: str, gate: str) -> None:
    rows = handmade_rows(masked=True)
    student, terms = hand_written(kind, gate, model, rows, taught(model, rows))
    distilled = mean_over(rows, terms, "token")
    expected = mean_over(rows, policy_terms(rows, student), "token") + 0.7 * distilled
    algo = {"coef": 0.7, "gate": gate, "gate_beta": 2.0, "objective": kind}
    done = train(settings(algo=algo), model, rows, tmp_path, tokenizer)
    assert distilled.item() > 0.05
    assert done.losses == pytest.approx([expected.item()], abs=1e-5)
    assert_same(done.gradients[0], gradient_of(expected, model))
    assert done.metrics[0]["distill_loss"] == pytest.approx(distilled.item(), abs=1e-5)


def test_the_terms_differ_here(model) -> None:
    """Else the test above would not distinguish objectives and gates."""
    rows = handmade_rows(masked=True)
    teacher = taught(model, rows)
    values = [
        mean_over(rows, hand_written(kind, gate, model, rows, teacher)[1], "token").item()
        for kind in KINDS
        for gate in ("none", "gap")
    ]
    assert min(after - before for before, after in itertools.pairwise(sorted(values))) > 1e-3


def test_the_value_can_be_pushed_down(model, tokenizer, tmp_path) -> None:
    """The sign check: training on the divergence alone lowers it."""
    rows = handmade_rows()
    algo = {"coef": 1.0, "policy_coef": 0.0, "gate": "none", "objective": "reverse-kl"}
    config = settings(algo=algo, teacher={"weights": "frozen"}, train={"steps": 4, "lr": 2e-3, "grad_clip": 1.0})
    done = train(config, model, rows, tmp_path, tokenizer)
    values = [step["distill_loss"] for step in done.metrics]
    assert values[-1] < 0.9 * values[0]


def test_batches_and_the_order_of_rows_change_nothing(model, tokenizer, tmp_path) -> None:
    """1, 3 and 64 rows per forward pass, and the rows backwards: loss, gradient and metrics are the same."""
    algo = {"coef": 0.5, "objective": "jsd", "agg": "trajectory", "kl_coef": 0.1, "entropy_coef": 0.1}
    rows = handmade_rows(masked=True)
    runs = [
        train(settings(algo=algo, train={"micro_batch": size}), model, given, tmp_path, tokenizer)
        for size, given in ((64, rows), (1, rows), (3, rows), (3, rows[::-1]))
    ]
    for run in runs[1:]:
        assert run.losses == pytest.approx(runs[0].losses, abs=1e-6)
        assert_same(run.gradients[0], runs[0].gradients[0])
        for key, value in runs[0].metrics[0].items():
            if not key.startswith("seconds"):
                assert run.metrics[0][key] == pytest.approx(value, abs=1e-5), key


def test_temperature_divides_the_logits_of_both(model, tokenizer, tmp_path, path) -> None:
    rows = handmade_rows()
    student, terms = hand_written("reverse-kl", "gap", model, rows, taught(model, rows, 0.5), 0.5)
    expected = mean_over(rows, policy_terms(rows, student), "token") + 0.5 * mean_over(rows, terms, "token")
    config = settings(algo={"coef": 0.5, "gate_beta": 2.0, "objective": "reverse-kl"}, model={"temperature": 0.5})
    done = train(config, model, rows, tmp_path, tokenizer)
    assert done.losses == pytest.approx([expected.item()], abs=1e-5)
    assert_same(done.gradients[0], gradient_of(expected, model), atol=2e-6)


def far(found: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether ``assert_same`` distinguishes two gradients, by far."""
    return max(float((found[name] - other[name]).abs().max()) for name in found) > 1e-4


def logits_with_head(model: nn.Module, head: Tensor, rows: Sequence[Sample]) -> list[Tensor]:
    """The teacher's distributions from the model's hidden states and another output layer."""
    made = copy.deepcopy(model)
    made.lm_head.weight = nn.Parameter(head.clone())
    return taught(made, rows)


@pytest.mark.parametrize("kind, tied", [("reverse-kl", True), ("forward-kl", False)], ids=["tied", "untied"])
def test_the_teacher_does_not_move_within_a_step(
    model, untied, tokenizer, tmp_path, path, kind: str, tied: bool
) -> None:
    """The second update's teacher has the hidden states AND the output layer of before the first."""
    first = model if tied else untied
    rows = handmade_rows()
    algo = {"coef": 0.5, "policy_coef": 0.0, "gate": "none", "objective": kind}
    config = settings(algo=algo, train={"updates_per_step": 2, "lr": 3e-3})
    done = train(config, first, rows, tmp_path, tokenizer)
    second = done.trainer._chunks[1]
    moved = with_weights(first, done.weights[0])
    normaliser = sum(len(row.response_ids) for row in rows) / 2

    def gradient(teacher: list[Tensor]) -> dict[str, Tensor]:
        _, terms = hand_written(kind, "none", moved, second, teacher)
        return gradient_of(0.5 * torch.cat(terms).sum() / normaliser, moved)

    assert_same(done.gradients[1], gradient(taught(first, second)), atol=2e-6)
    assert far(done.gradients[1], gradient(taught(moved, second)))
    assert far(done.gradients[1], gradient(logits_with_head(first, moved.lm_head.weight, second)))
    assert far(done.gradients[1], gradient(logits_with_head(moved, first.lm_head.weight, second)))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("weights, decay", [("frozen", 1.0), ("ema", 0.7)])
def test_a_teacher_with_weights_of_its_own(
    model, untied, tokenizer, tmp_path, weights: str, decay: float, tied: bool
) -> None:
    """Its distribution in the second step comes from its own hidden states and its own output layer."""
    first = model if tied else untied
    rows = handmade_rows()
    config = settings(
        algo={"coef": 0.5, "policy_coef": 0.0, "gate": "gap", "gate_beta": 2.0, "objective": "reverse-kl"},
        teacher={"weights": weights, "ema_decay": decay},
        train={"steps": 2, "lr": 3e-3},
    )
    done = train(config, first, rows, tmp_path, tokenizer)
    moved = with_weights(first, done.weights[0])
    initial = {name: p.detach() for name, p in first.named_parameters()}
    shadow = {name: decay * value + (1 - decay) * done.weights[0][name] for name, value in initial.items()}
    teacher = taught(with_weights(first, shadow), rows)
    _, terms = hand_written("reverse-kl", "gap", moved, rows, teacher)
    assert_same(done.gradients[1], gradient_of(0.5 * torch.cat(terms).mean(), moved), atol=2e-6)
    _, live = hand_written("reverse-kl", "gap", moved, rows, taught(moved, rows))
    assert far(done.gradients[1], gradient_of(0.5 * torch.cat(live).mean(), moved))


def test_only_the_adapter_gets_a_gradient(model, tokenizer, tmp_path, path) -> None:
    """The same value as the formula on the adapted model, and its gradient on the adapter."""
    rows = handmade_rows(masked=True)
    algo = {"coef": 0.7, "gate": "gap", "gate_beta": 2.0, "objective": "jsd"}
    run = prepare(settings(algo=algo, model=LORA), model, rows, tmp_path, tokenizer)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in run.model.named_parameters():
            if "lora_B" in name:  # zero at first, which hides half of the gradient
                p.normal_(std=0.05, generator=generator)
    student, terms = hand_written("jsd", "gap", run.model, rows, taught(run.model, rows))
    expected = mean_over(rows, policy_terms(rows, student), "token") + 0.7 * mean_over(rows, terms, "token")
    wanted = gradient_of(expected, run.model)
    run.trainer.train()
    assert run.losses == pytest.approx([expected.item()], abs=1e-5)
    assert_same(run.gradients[0], wanted)
    assert all("lora_" in name for name in wanted)


def test_an_output_layer_with_a_bias(untied, tokenizer, tmp_path, path) -> None:
    made = copy.deepcopy(untied)
    head = made.get_output_embeddings()
    head.bias = nn.Parameter(torch.randn(head.out_features, generator=torch.Generator().manual_seed(2)))
    rows = handmade_rows()
    student, terms = hand_written("jsd", "none", made, rows, taught(made, rows))
    expected = mean_over(rows, policy_terms(rows, student), "token") + 0.7 * mean_over(rows, terms, "token")
    done = train(settings(algo={"coef": 0.7, "gate": "none", "objective": "jsd"}), made, rows, tmp_path, tokenizer)
    assert_same(done.gradients[0], gradient_of(expected, made))


class Doubled(nn.Linear):
    """An output layer that is not the linear map its weight says."""

    def forward(self, hidden: Tensor) -> Tensor:
        return 2 * super().forward(hidden)


def doubled(model: nn.Module) -> nn.Module:
    """A copy whose output layer doubles the logits."""
    made = copy.deepcopy(model)
    head = Doubled(*made.lm_head.weight.shape[::-1], bias=False)
    head.weight = made.lm_head.weight
    made.lm_head = head
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_whose_output_layer_is_not_linear_is_refused(model, tokenizer, tmp_path, kind: str) -> None:
    config = settings(algo={"objective": kind})
    with pytest.raises(ConfigError, match=f"algo.objective = {kind} cannot be used") as caught:
        train(config, doubled(model), handmade_rows(), tmp_path, tokenizer)
    assert "--objective signed" in caught.value.render()


@pytest.mark.parametrize("field, value", [("logit_scale", 0.5), ("final_logit_softcapping", 1.0)])
def test_a_model_that_scales_its_logits_is_refused_by_the_fused_head(
    model, tokenizer, tmp_path, monkeypatch, field: str, value: float
) -> None:
    """TRL reads these from the model's configuration."""
    monkeypatch.setattr(ours, "DENSE_LOGITS", 0)
    made = copy.deepcopy(model)
    setattr(made.config, field, value)
    with pytest.raises(ConfigError, match="cannot be used with this model"):
        train(settings(algo={"objective": "reverse-kl"}), made, handmade_rows(), tmp_path, tokenizer)


def test_sampled_objectives_take_any_output_layer(model, tokenizer, tmp_path) -> None:
    made, rows = doubled(model), handmade_rows()
    done = train(settings(algo={"objective": "signed", "gate": "none"}), made, rows, tmp_path, tokenizer)
    teacher = torch.cat([forward(made, row.teacher_prompts[0], row)[0] for row in rows]).detach()
    torch.testing.assert_close(torch.cat([each.teacher.logps[0] for each in done.signals]), teacher, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "algo",
    [{"objective": "surrogate"}, {"objective": "k3"}, {"objective": "reverse-kl", "shaping": "rlsd"}, {"coef": 0.0}],
    ids=lambda algo: "-".join(map(str, algo.values())),
)
def test_hidden_states_are_kept_for_no_other_objective(model, tokenizer, tmp_path, monkeypatch, algo) -> None:
    """They are the largest tensors of a step, and a shaping or a run without teacher reads none."""
    seen = []
    score = ours.Scoring._get_per_token_logps_and_entropies

    def note(self, *arguments, **more):
        out = score(self, *arguments, **more)
        seen.append(self._captured is None or self._captured.hidden is None)
        return out

    monkeypatch.setattr(ours.Scoring, "_get_per_token_logps_and_entropies", note)
    done = train(settings(algo=algo), model, handmade_rows(), tmp_path, tokenizer)
    assert not done.trainer.keeps_hidden
    assert seen and all(seen)
    assert all(each.teacher is None or each.teacher.hidden == () for each in done.signals)


def test_hidden_states_are_kept_for_the_whole_vocabulary(model, tokenizer, tmp_path) -> None:
    done = train(settings(algo={"objective": "jsd"}), model, handmade_rows(), tmp_path, tokenizer)
    for row, signals in zip(done.trainer.given, done.signals, strict=True):
        (hidden,) = signals.teacher.hidden
        assert hidden.shape == (len(row.response_ids), model.config.hidden_size)
        assert not hidden.requires_grad


def test_an_outsiders_objective_can_ask_for_the_whole_vocabulary(model, tokenizer, tmp_path, monkeypatch) -> None:
    from sdar_cli.algo.objectives import reverse_kl

    def doubled_kl(batch, weight):
        return 2 * reverse_kl(batch, weight)

    doubled_kl.full_vocabulary = True
    module = ModuleType("my_objectives")
    module.doubled_kl = doubled_kl  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_objectives", module)
    rows = handmade_rows()
    ours, theirs = (
        train(settings(algo={"coef": coef, "objective": name}), model, rows, tmp_path, tokenizer)
        for coef, name in ((0.25, "my_objectives:doubled_kl"), (0.5, "reverse-kl"))
    )
    assert ours.losses == pytest.approx(theirs.losses, abs=1e-6)
    assert_same(ours.gradients[0], theirs.gradients[0])


@pytest.mark.parametrize("gate", ["none", "gap"])
def test_k1_is_the_surrogate_with_the_other_sign(model, tokenizer, tmp_path, gate: str) -> None:
    rows = handmade_rows(masked=True)
    k1, surrogate = (
        train(
            settings(algo={"coef": 0.5, "policy_coef": 0.0, "gate": gate, "objective": name}),
            model,
            rows,
            tmp_path,
            tokenizer,
        )
        for name in ("k1", "surrogate")
    )
    assert_same(k1.gradients[0], {name: -value for name, value in surrogate.gradients[0].items()})
    assert k1.losses == pytest.approx([-value for value in surrogate.losses], abs=1e-6)


@pytest.mark.parametrize("gate", ["entropy", "soft-or"])
@pytest.mark.parametrize("how", ["nats", "log-vocab"])
def test_entropies_for_gates_can_be_shares_of_their_maximum(model, tokenizer, tmp_path, gate: str, how: str) -> None:
    """log-vocab divides by log |V|, |V| the rows of the output layer; the metric stays in nats."""
    vocabulary = model.get_output_embeddings().weight.shape[0]
    assert vocabulary != len(tokenizer)
    rows = handmade_rows(masked=True)
    students, terms, entropies, gates = [], [], [], []
    for row in rows:
        student, entropy = forward(model, row.prompt_ids, row)
        teacher = forward(model, row.teacher_prompts[0], row)[0].detach()
        gap = (teacher - student).detach()
        h = entropy.detach() / (math.log(vocabulary) if how == "log-vocab" else 1.0)
        gates.append(torch.sigmoid(3.0 * (h if gate == "entropy" else 1 - (1 - h) * (1 - gap))))
        students.append(student)
        terms.append(gates[-1] * (teacher - student))
        entropies.append(entropy.detach())
    expected = mean_over(rows, policy_terms(rows, students), "token") + 0.6 * mean_over(rows, terms, "token")
    algo = {"coef": 0.6, "gate": gate, "gate_beta": 3.0, "gate_entropy": how}
    done = train(settings(algo=algo), model, rows, tmp_path, tokenizer)
    assert_same(done.gradients[0], gradient_of(expected, model))
    assert done.metrics[0]["gate_mean"] == pytest.approx(mean_over(rows, gates, "token").item(), abs=1e-5)
    assert done.metrics[0]["entropy"] == pytest.approx(mean_over(rows, entropies, "token").item(), abs=1e-5)
