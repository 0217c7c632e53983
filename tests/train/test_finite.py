"""A run that is destroyed stops before it destroys its checkpoints, and says what is not finite and when."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sdar_cli.base.errors import NotFiniteError
from sdar_cli.runs.checkpoints import list_checkpoints
from sdar_cli.runs.metrics import read_metrics
from sdar_cli.runs.rundir import RunDir
from sdar_cli.train.finite import check_weights, first_not_finite

from . import toyruns
from .material import handmade_rows, prepare, settings

NAN = float("nan")


def blank(batch, beta: float) -> torch.Tensor:
    """A gate that is defined nowhere."""
    return torch.full(batch.mask.shape, NAN)


def endless(batch, gate_RT: torch.Tensor) -> torch.Tensor:
    """An objective without a bound."""
    return batch.visible("student") * float("inf")


def test_the_first_tensor_that_is_not_finite_is_named() -> None:
    good, huge = torch.ones(3), torch.full((4,), 3e38)  # the sum of the second overflows, its values do not
    assert first_not_finite([]) is None
    assert first_not_finite([("a", good), ("b", huge)]) is None
    for value in (NAN, float("inf"), -float("inf")):
        assert first_not_finite([("a", good), ("b", torch.tensor([1.0, value])), ("c", torch.tensor(NAN))]) == "b"
    assert first_not_finite([("a", torch.tensor([float("inf"), -float("inf")]))]) == "a"
    with pytest.raises(NotFiniteError, match="later: the weight b is not finite"):
        check_weights([("a", good), ("b", torch.tensor(NAN))], "later")


@pytest.mark.parametrize(
    ("algo", "words"),
    [
        ({"gate": f"{__name__}:blank"}, rf"values of the gate '{__name__}:blank' \(algo.gate\) are not finite"),
        ({"gate": "none", "objective": f"{__name__}:endless"}, rf"loss of the objective '{__name__}:endless'"),
    ],
)
def test_a_gate_or_objective_that_is_not_finite_stops_before_an_update(
    algo, words: str, model, tokenizer, tmp_path
) -> None:
    made = prepare(settings(algo={"coef": 0.1, **algo}), model, handmade_rows(), tmp_path, tokenizer)
    before = [p.detach().clone() for p in made.model.parameters()]
    with pytest.raises(NotFiniteError, match=f"update 1 of step 1: the {words}"):
        made.trainer.train()
    assert all(torch.equal(a, b) for a, b in zip(before, made.model.parameters(), strict=True))


def test_an_update_can_be_left_out(model, tokenizer, tmp_path) -> None:
    config = settings(algo={"coef": 0.1, "gate": f"{__name__}:blank"}, train={"on_nonfinite": "skip"})
    made, said = prepare(config, model, handmade_rows(), tmp_path, tokenizer), []
    made.trainer.warn = said.append
    before = [p.detach().clone() for p in made.model.parameters()]
    made.trainer.train()
    assert all(torch.equal(a, b) for a, b in zip(before, made.model.parameters(), strict=True))
    updates = config.train.updates_per_step
    assert [metrics["skipped_updates"] for metrics in made.metrics] == [updates] * config.train.steps
    assert len(said) == updates * config.train.steps and "is left out" in said[0]


def test_a_gradient_that_is_not_finite_is_named(model, tokenizer, tmp_path) -> None:
    made = prepare(settings(), model, handmade_rows(), tmp_path, tokenizer)
    name, parameter = next((n, p) for n, p in made.model.named_parameters() if "mlp" in n)
    parameter.register_hook(lambda gradient: gradient * NAN)
    with pytest.raises(NotFiniteError, match=f"update 1 of step 1: the gradient of {name} is not finite"):
        made.trainer.train()


def test_no_checkpoint_of_broken_weights_is_written(model, tokenizer, tmp_path) -> None:
    made = prepare(settings(), model, handmade_rows(), tmp_path, tokenizer)
    name, parameter = next((n, p) for n, p in made.model.named_parameters() if "mlp" in n)
    with torch.no_grad():
        parameter.view(-1)[3] = float("inf")
    with pytest.raises(NotFiniteError, match=f"before the checkpoint of step 7: the weight {name} is not finite"):
        made.trainer.save_step(7)
    assert list(tmp_path.iterdir()) == []


def test_a_destroyed_run_names_its_last_good_checkpoint(walker_model, tokenizer, tmp_path: Path) -> None:
    def prepare_run(run) -> None:
        after_step = run._after_step

        def destroy(trainer, step: int, metrics) -> bool:
            stop = after_step(trainer, step, metrics)
            if step == 1:
                with torch.no_grad():
                    next(trainer.model.parameters()).fill_(NAN)
            return stop

        run._after_step = destroy

    with pytest.raises(NotFiniteError, match=r"step 2: .*not finite") as caught:
        toyruns.play(tmp_path, toyruns.config(), walker_model, tokenizer, prepare=prepare_run)
    assert "the last good checkpoint is" in caught.value.why and "step-000001" in caught.value.why
    run = RunDir(tmp_path)
    assert [path.name for path in list_checkpoints(run.checkpoints)] == ["step-000001"]
    assert [row["step"] for row in read_metrics(run.metrics)] == [1]
    assert "NaN" not in json.dumps(read_metrics(run.metrics))
