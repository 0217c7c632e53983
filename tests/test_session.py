"""What training and evaluation share: adapters, checkpoints as models, splits, and one device per process."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
import toy

from sdar_cli.base.display import Reporter
from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.models.engines.scripted import ScriptedEngine
from sdar_cli.rollout.collect import Collector
from sdar_cli.rollout.samples import Sample
from sdar_cli.session import Session, _load, engine_settings, eval_split, open_session
from sdar_cli.skills.bank import load_bank
from sdar_cli.train.trainer import SDARTrainer, StepData


def named(model_folder, **model):
    return toy.config(model={"name": str(model_folder), **model}, train={"steps": 1, "lr": 1e-2})


def peft_of(config):
    return Session.peft_config(SimpleNamespace(config=config))  # type: ignore[arg-type]


def trained(config, model, tokenizer, folder):
    """One update of something, and its checkpoint."""

    def rollout(trainer, step):
        sample = Sample(
            prompt_ids=[5, 6, 7],
            response_ids=[8, 9, 2],
            mask=[True] * 3,
            turn_of=[0] * 3,
            trajectory=0,
            group=0,
            turn=0,
            sampler_logps=[math.nan] * 3,
            success=False,
            advantage=[1.0] * 3,
            weight=[1.0] * 3,
            teacher_prompts=[[4, 5, 6, 7]],
        )
        return StepData([sample], 3.0)

    trainer = SDARTrainer(
        config, model, tokenizer, folder, rollout, lambda *arguments: False, peft_config=peft_of(config)
    )
    trainer.train()
    return trainer.model.eval(), trainer.save_step(1)


@pytest.mark.parametrize("rank", [0, 4], ids=["full", "adapter"])
def test_a_checkpoint_is_loaded_as_the_model_it_was(model_folder, tmp_path, rank: int) -> None:
    """Whole weights, or the base model with the saved adapter: the same logits as when it was saved."""
    config = named(model_folder, lora={"rank": rank})
    base, tokenizer = _load(config, None)
    ids = torch.tensor([[5, 6, 7, 8]])
    before = base(ids).logits.detach().clone()
    model, checkpoint = trained(config, base, tokenizer, tmp_path)
    loaded, _ = _load(config, checkpoint)
    with torch.no_grad():
        wanted, found = model(ids).logits, loaded.eval()(ids).logits
    assert (checkpoint / "adapter_config.json").exists() is bool(rank)
    assert (wanted - before).abs().max() > 1e-3
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_no_rank_means_no_adapter() -> None:
    assert peft_of(toy.config()) is None
    lora = peft_of(toy.config(model={"lora": {"rank": 8, "alpha": 16.0, "dropout": 0.1, "targets": "q_proj,v_proj"}}))
    assert (lora.r, lora.lora_alpha, lora.lora_dropout) == (8, 16.0, 0.1)
    assert lora.target_modules == {"q_proj", "v_proj"}
    assert peft_of(toy.config(model={"lora": {"rank": 8}})).target_modules == "all-linear"


@pytest.mark.parametrize(
    "env, asked, split",
    [
        ({"source": "generated"}, None, "eval"),
        ({"source": "real"}, None, "valid_seen"),
        ({"source": "real"}, "valid_unseen", "valid_unseen"),
    ],
)
def test_the_held_out_split(env, asked, split: str) -> None:
    assert eval_split(toy.config(env=env, eval={"split": asked})) == split


def test_several_processes_are_refused_before_anything_is_opened(model_folder, monkeypatch, tmp_path) -> None:
    """Each would train a run of its own into the same directory."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("SDAR_CACHE", str(tmp_path / "cache"))
    with (
        Reporter(plain=True) as reporter,
        pytest.raises(PrerequisiteError, match="several processes"),
        open_session(named(model_folder), reporter),
    ):
        raise AssertionError("not reached")
    assert not (tmp_path / "cache").exists()


def test_provenance_names_data_skills_and_model(model_folder, tokenizer) -> None:
    from sdar_cli.envs.panels import make_panel

    config, bank, panel = named(model_folder), load_bank("alfworld"), make_panel(toy.tasks(3, "eval"))
    model, _ = _load(config, None)
    session = Session(config, None, toy.Corridor(), panel, [], bank, model, tokenizer, None)  # type: ignore[arg-type]
    found = session.provenance()
    assert found["panel"] == {"split": "eval", "tasks": 3, "sha256": panel.sha256}
    assert (found["skill_bank_sha256"], found["model"]) == (bank.sha256, str(model_folder))
    assert (found["parameters"], found["dtype"], found["device"]) == (34_016, "torch.float32", "cpu")


@pytest.mark.parametrize(
    ("sections", "longest"),
    [
        ({}, 640 + 24),
        ({"teacher": {"max_prompt_tokens": 100}}, 400 + 24),
        ({"env": {"context": "transcript"}}, 2048),
        ({"env": {"context": "transcript"}, "model": {"max_context_tokens": 500}}, 640 + 24),
        ({"engine": {"max_len": 77}}, 77),
    ],
)
def test_the_longest_sequence_of_an_engine(sections, longest: int) -> None:
    """The longer of the student's and the teacher's prompt budget, and the response; a transcript has its own limit."""
    assert engine_settings(toy.config(**sections)).max_len == longest


def test_a_push_hands_over_the_models_weights(model, tokenizer) -> None:
    from sdar_cli.envs.panels import make_panel

    class Keeping(ScriptedEngine):
        def push(self, weights, version):
            self.got = (dict(weights), version)

    config, panel, engine = toy.config(), make_panel(toy.tasks(3, "eval")), Keeping(tokenizer, toy.walker)
    player = Collector(config, toy.Corridor(), engine, tokenizer)
    session = Session(config, None, toy.Corridor(), panel, [], load_bank("alfworld"), model, tokenizer, player)  # type: ignore[arg-type]
    session.push(4)
    weights, version = engine.got
    assert version == 4 and weights.keys() == dict(model.named_parameters()).keys()
    assert torch.equal(weights["model.norm.weight"], model.model.norm.weight)
