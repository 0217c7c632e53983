"""The members of TRL and transformers that ``SDARTrainer`` and its mixin ``Scoring`` rely on.

Most of them are private and change between minor releases, which is why the version is pinned.  Each failure says what
has changed.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
from types import ModuleType

import pytest
import torch
import toy
import transformers
import trl
from trl import GRPOConfig, GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing

from sdar_cli.train import score
from sdar_cli.train import trainer as ours
from sdar_cli.train.rows import PolicyScores, Signals, collate

from .material import assert_same, forward, gradient_of, handmade_rows, prepare, settings, weighted

WHERE = f"in TRL {trl.__version__} (transformers {transformers.__version__})"
SIGNATURES = {
    (GRPOTrainer, "_compute_loss"): ["self", "model", "inputs"],
    (GRPOTrainer, "_get_per_token_logps_and_entropies"): [
        "self",
        "model",
        "input_ids",
        "attention_mask",
        "logits_to_keep",
    ],
    (GRPOTrainer, "_prepare_inputs"): ["self", "generation_batch"],
    (GRPOTrainer, "training_step"): ["self", "model", "inputs", "num_items_in_batch"],
    (GRPOTrainer, "_save_checkpoint"): ["self", "model", "trial"],
    (transformers.Trainer, "training_step"): ["self", "model", "inputs", "num_items_in_batch"],
    (transformers.Trainer, "_load_from_checkpoint"): ["self", "resume_from_checkpoint"],
    (transformers.Trainer, "train"): ["self", "resume_from_checkpoint"],
}
"""Leading parameters, in order; more with defaults may follow."""
INHERITED = {
    "_get_per_token_logps_and_entropies", "_save_checkpoint", "_metrics", "accelerator", "args",
    "add_callback", "remove_callback", "model", "processing_class", "state",
    "temperature", "_load_from_checkpoint",
}  # fmt: skip
"""Everything ``SDARTrainer`` and its mixin ``Scoring`` use of TRL's and transformers' trainers."""


@pytest.fixture(scope="module")
def record(tokenizer, tmp_path_factory):
    """A trainer that has not trained yet."""
    model = toy.make_model(tokenizer)
    return prepare(settings(), model, handmade_rows(), tmp_path_factory.mktemp("contract"), tokenizer)


@pytest.mark.parametrize("owner, name", SIGNATURES, ids=lambda value: getattr(value, "__name__", value))
def test_signature(owner: type, name: str) -> None:
    wanted = SIGNATURES[owner, name]
    method = getattr(owner, name, None)
    assert method is not None, f"{owner.__name__}.{name} is gone {WHERE}"
    parameters = inspect.signature(method).parameters
    found = list(parameters)
    assert found[: len(wanted)] == wanted, (
        f"{owner.__name__}.{name} takes ({', '.join(found)}) {WHERE}; relied on: ({', '.join(wanted)})"
    )
    needed = [
        key
        for key in found[len(wanted) :]
        if parameters[key].default is inspect.Parameter.empty
        and parameters[key].kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    ]
    assert not needed, f"{owner.__name__}.{name} {WHERE} also demands {', '.join(needed)}"


def _members(node: ast.ClassDef) -> tuple[set[str], set[str], set[str]]:
    """(used, defined, declared): on ``self`` or ``super()``; by the class; under TYPE_CHECKING, for a base to give."""
    used: set[str] = set()
    defined = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
    defined |= {part.target.id for part in node.body if isinstance(part, ast.AnnAssign)}
    defined |= {target.id for part in node.body if isinstance(part, ast.Assign) for target in part.targets}
    declared = set()
    for part in node.body:
        if isinstance(part, ast.If):
            declared |= {inner.target.id for inner in part.body if isinstance(inner, ast.AnnAssign)}
            declared |= {inner.name for inner in part.body if isinstance(inner, ast.FunctionDef)}
    for inner in ast.walk(node):
        if not isinstance(inner, ast.Attribute):
            continue
        on_self = isinstance(inner.value, ast.Name) and inner.value.id == "self"
        on_super = isinstance(inner.value, ast.Call) and getattr(inner.value.func, "id", "") == "super"
        if on_super and inner.attr != "__init__":
            used.add(inner.attr)
        elif on_self:
            (defined if isinstance(inner.ctx, ast.Store) else used).add(inner.attr)
    return used, defined, declared


def _class(module: ModuleType, name: str) -> tuple[set[str], set[str], set[str]]:
    tree = ast.parse(inspect.getsource(module))
    return _members(next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name))


def test_the_list_of_inherited_members_is_complete() -> None:
    """A member used by the trainer or its mixin and not listed here would escape the checks below."""
    (used, defined, _), (more_used, more_defined, _) = _class(ours, "SDARTrainer"), _class(score, "Scoring")
    own = {name for name in defined | more_defined if not hasattr(GRPOTrainer, name)}
    assert (used | more_used) - own == INHERITED


def test_the_mixin_gets_what_it_declares(record) -> None:
    """``Scoring`` lists what it wants of the classes it is mixed with, uses each, and stands before TRL's trainer."""
    used, defined, declared = _class(score, "Scoring")
    assert declared <= used
    assert used <= defined | declared
    missing = [name for name in declared if not hasattr(record.trainer, name)]
    assert not missing, f"nothing gives Scoring its {', '.join(missing)} {WHERE}"
    order = ours.SDARTrainer.__mro__
    assert order.index(score.Scoring) < order.index(GRPOTrainer)


@pytest.mark.parametrize("name", sorted(INHERITED))
def test_a_trainer_has_the_member(record, name: str) -> None:
    assert hasattr(record.trainer, name), f"GRPOTrainer.{name} is gone {WHERE}"


def test_the_settings_exist() -> None:
    """``grpo_arguments`` sets these by name; one that is renamed would be a TypeError at every start."""
    tree = ast.parse(inspect.getsource(ours.grpo_arguments))
    call = next(n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "GRPOConfig")
    used = {keyword.arg for keyword in call.keywords}
    fields = {f.name for f in dataclasses.fields(GRPOConfig)}
    assert len(used) > 20 and not used - fields, f"GRPOConfig has no {sorted(used - fields)} {WHERE}"


def test_settings_left_at_their_defaults_are_neutral() -> None:
    """Each of these would change the loss, or treat a weight as a mask, at another value."""
    defaults = {
        "num_iterations": 1,
        "importance_sampling_level": "token",
        "top_entropy_quantile": 1.0,
        "off_policy_mask_threshold": None,
        "use_vllm": False,
        "entropy_coef": 0.0,
        "label_smoothing_factor": 0.0,
        "epsilon_high": None,
    }
    found = {f.name: f.default for f in dataclasses.fields(GRPOConfig) if f.name in defaults}
    assert found == defaults, f"a default of GRPOConfig has changed {WHERE}"


def test_metrics_of_a_step_can_be_cleared(record) -> None:
    metrics = record.trainer._metrics["train"]
    metrics["x"].append(1.0)
    metrics.clear()
    assert not metrics, f"_metrics['train'] is no dictionary of lists {WHERE}"


def test_log_probs_and_entropies_come_first_and_have_the_completions_shape(record) -> None:
    ids = torch.randint(3, 400, (2, 9))
    out = GRPOTrainer._get_per_token_logps_and_entropies(
        record.trainer, record.trainer.model, ids, torch.ones_like(ids), 4, compute_entropy=True
    )
    assert out[0].shape == out[1].shape == (2, 4), f"log-probs and entropies have another place or shape {WHERE}"
    assert out[0].requires_grad and out[1].requires_grad, f"log-probs or entropies carry no gradient {WHERE}"


def test_the_decoder_is_called_as_a_module_while_tokens_are_scored(record) -> None:
    """Hidden states are taken from a hook on it; they and the output layer give the log-probs, with a gradient."""
    trainer = record.trainer
    model, ids, seen = trainer.accelerator.unwrap_model(trainer.model), torch.randint(3, 400, (2, 9)), []
    handle = model.get_decoder().register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
    try:
        out = GRPOTrainer._get_per_token_logps_and_entropies(
            trainer, trainer.model, ids, torch.ones_like(ids), 4, compute_entropy=True
        )
    finally:
        handle.remove()
    assert [tuple(hidden.shape[:2]) for hidden in seen] == [(2, 9)], f"the decoder saw {len(seen)} calls {WHERE}"
    assert seen[0].requires_grad
    log_p = torch.log_softmax(model.get_output_embeddings()(seen[0][:, 4:8]), dim=-1)
    torch.testing.assert_close(log_p.gather(2, ids[:, 5:, None])[..., 0], out[0], rtol=0, atol=1e-5)


def test_gradient_checkpointing_can_be_turned_off_for_a_while() -> None:
    found = list(inspect.signature(disable_gradient_checkpointing).parameters)[:2]
    assert found == ["model", "gradient_checkpointing_kwargs"], f"disable_gradient_checkpointing takes {found} {WHERE}"


@pytest.mark.parametrize("dual_clip", [3.0, None])
@pytest.mark.parametrize("updates", [1, 2])
def test_the_policy_loss_is_trls(tokenizer, tmp_path, dual_clip: float | None, updates: int) -> None:
    """Value and gradient of our loss without other terms are those of ``GRPOTrainer._compute_loss`` (``dapo``)."""
    config = settings(algo={"coef": 0.0, "dual_clip": dual_clip}, train={"updates_per_step": updates})
    trainer = prepare(config, toy.make_model(tokenizer), [], tmp_path, tokenizer).trainer
    rows, normaliser = weighted(handmade_rows(masked=True), "trajectory")
    generator = torch.Generator().manual_seed(7)
    signals = {row: Signals(row.advantage, _far_from(trainer, row, generator), None, None) for row in rows}
    inputs = collate(rows, signals, trainer.processing_class.pad_token_id, trainer.accelerator.device)
    trainer.model.train()  # else TRL leaves out the number of updates
    trainer._normaliser = normaliser
    trainer.current_gradient_accumulation_steps = 1
    ours_found = trainer._compute_loss(trainer.model, inputs)
    trls = GRPOTrainer._compute_loss(trainer, trainer.model, {**inputs, "num_items_in_batch": torch.tensor(normaliser)})
    assert trls.detach().abs() > 1e-3
    torch.testing.assert_close(ours_found, trls, rtol=1e-5, atol=1e-7)
    assert_same(gradient_of(ours_found, trainer.model), gradient_of(trls, trainer.model))


def _far_from(trainer, row, generator: torch.Generator) -> PolicyScores:
    """Log-probs so far from the present ones that each branch of the clipped loss is met."""
    with torch.no_grad():
        logps, entropy = forward(trainer.model, row.prompt_ids, row)
    return PolicyScores(logps + 1.2 * torch.randn(logps.shape, generator=generator), entropy)
