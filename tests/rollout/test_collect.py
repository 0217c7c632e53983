"""Collection over many turns: who is prompted, what it costs, how episodes end, and what a prompt is made of."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import toy
from toy import TAKE, say, task

from sdar_cli.base.errors import PrerequisiteError, RunFailedError, SdarError
from sdar_cli.base.seeds import seed_of
from sdar_cli.envs.base import StopReason
from sdar_cli.models.engine import Sampling
from sdar_cli.models.engines.scripted import ScriptedEngine
from sdar_cli.rollout.collect import Assignment, Collector
from sdar_cli.rollout.prompt import encode_prompt

TRANSCRIPT = {"env": {"context": "transcript"}}


def tokens(tokenizer, text: str) -> int:
    """Tokens of a response with its end token."""
    return len(tokenizer(text, add_special_tokens=False)["input_ids"]) + 1


def test_only_active_episodes_are_prompted_and_cost_tokens(tokenizer) -> None:
    """Corridors of 0, 2, 1 and 9 rooms end after 1, 3, 2 turns and never: 4, 3, 2, 1 prompts in the four turns."""
    assignment = [(task(d, d), i) for i, d in enumerate((0, 2, 1, 9))]
    episodes, engine, environment = toy.collect(toy.config(), tokenizer, assignment)
    assert engine.calls == [4, 3, 2, 1]
    assert environment.stepped == [(0, 1, 2, 3), (1, 2, 3), (1, 3), (3,)]
    assert [len(e.turns) for e in episodes] == [1, 3, 2, 4]
    assert [e.stop for e in episodes] == [StopReason.WON, StopReason.WON, StopReason.WON, StopReason.MAX_TURNS]
    assert [e.reward for e in episodes] == [1.0, 1.0, 1.0, 0.0]
    # Winners take once; they walk 0, 2 and 1 times, the last one 4 times.
    paid = 3 * tokens(tokenizer, say(TAKE)) + 7 * tokens(tokenizer, say("go on"))
    assert engine.tokens_generated == paid == sum(len(t.response_ids) for e in episodes for t in e.turns)


def test_episodes_keep_their_order_task_and_group(tokenizer) -> None:
    assignment = [(task(1, 5), 3), (task(1, 5), 3), (task(0, 6), 4)]
    episodes, _, _ = toy.collect(toy.config(), tokenizer, assignment)
    assert [(e.task, e.group, e.index) for e in episodes] == [(t, g, i) for i, (t, g) in enumerate(assignment)]


def test_a_loss_a_breakdown_and_the_reward_of_winning(tokenizer) -> None:
    """The environment's own reward counts where nothing was won; a broken episode is masked, not lost."""

    def respond(prompt: str) -> str:
        return say({"1-1": "fall 1", "1-2": "break 1", "0-3": TAKE}[next(name for name in names if name in prompt)])

    names = ("1-1", "1-2", "0-3")
    assignment = [(task(int(name[0]), int(name[2])), i) for i, name in enumerate(names)]
    episodes, engine, _ = toy.collect(
        toy.config(env={"win_reward": 10.0}),
        tokenizer,
        assignment,
        respond,
        skill_for=lambda each, goal: f"This is {each.id.partition('/')[2]}.",
    )
    lost, broken, won = episodes
    assert engine.calls == [3]
    assert (lost.stop, lost.reward, lost.failed) == (StopReason.LOST, toy.LOST_REWARD, False)
    assert (broken.stop, broken.reward, broken.failed) == (StopReason.ENV_FAILED, 0.0, True)
    assert broken.failure == "the corridor fell down"
    assert (won.stop, won.reward, won.won) == (StopReason.WON, 10.0, True)


def test_a_window_prompt_is_the_students_prompt_of_its_view(tokenizer) -> None:
    """With history 1, turn 2 shows one past pair and not the first; the ids are those of ``encode_prompt``."""
    settings = toy.config(env={"history": 1})
    (episode,), _, _ = toy.collect(settings, tokenizer, [(task(9), 0)])
    assert [(t.view.turn, len(t.view.history)) for t in episode.turns] == [(0, 0), (1, 1), (2, 1), (3, 1)]
    third = episode.turns[2].view
    assert third.history == (("You walk on, 8 to go.", "go on"),)
    assert third.observation == "You walk on, 7 to go."
    for turn in episode.turns:
        assert turn.prompt_ids == encode_prompt(tokenizer, turn.view, style="compact", limit=400).ids
        assert not turn.truncated_prompt and not turn.truncated_response


def test_no_history_shows_no_past_pair(tokenizer) -> None:
    (episode,), _, _ = toy.collect(toy.config(env={"history": 0}), tokenizer, [(task(9), 0)])
    assert all(turn.view.history == () for turn in episode.turns)


def test_invalid_actions_are_recorded_and_sent(tokenizer) -> None:
    (episode,), _, _ = toy.collect(toy.config(), tokenizer, [(task(0), 0)], lambda prompt: "<action>dance</action>")
    assert [(t.action, t.valid, t.admissible) for t in episode.turns] == [("dance", False, False)] * 4
    assert "Nothing happens." in tokenizer.decode(episode.turns[1].prompt_ids)


def test_cut_prompts_and_cut_responses_are_counted(tokenizer) -> None:
    settings = toy.config(model={"max_response_tokens": 3})
    full = encode_prompt(
        tokenizer, toy.collect(toy.config(), tokenizer, [(task(9), 0)])[0][0].turns[2].view, style="compact", limit=400
    )
    (episode,), _, _ = toy.collect(settings, tokenizer, [(task(9), 0)])
    assert all(len(t.response_ids) == 3 and t.truncated_response and not t.valid for t in episode.turns)
    environment, engine = toy.Corridor(), ScriptedEngine(tokenizer, toy.walker)
    tight = toy.config(model={"max_prompt_tokens": len(full.ids) - 1})
    out = Collector(tight, environment, engine, tokenizer).collect(toy.assigned([(task(9), 0)]), Sampling(24))
    assert [t.truncated_prompt > 0 for t in out.episodes[0].turns] == [False, False, True, True]
    assert out.cut_prompts == 2


def test_an_empty_thought_in_the_prompt_does_not_make_a_legal_action_invalid(tokenizer) -> None:
    """Templates in the manner of Qwen3 write the empty block into the prompt when thinking is off."""
    import copy

    qwen = copy.deepcopy(tokenizer)
    qwen.chat_template = tokenizer.chat_template.replace(
        "assistant\n{% endif %}",
        "assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
    )
    valid = {}
    for rule in ("admissible", "format", "released"):
        settings = toy.config(env={"valid_action": rule}, model={"thinking": False})
        (episode,), _, _ = toy.collect(settings, qwen, [(task(0), 0)], lambda prompt: f"<action>{TAKE}</action>")
        assert qwen.decode(episode.turns[0].prompt_ids).endswith("<think>\n\n</think>\n\n")
        assert episode.won
        valid[rule] = episode.turns[0].valid
    assert valid == {"admissible": True, "format": True, "released": False}


def test_a_transcript_grows_by_exactly_what_was_written(tokenizer) -> None:
    """A prompt starts with the previous prompt and response, id by id, and adds the new message only."""
    settings = toy.config(**TRANSCRIPT)
    (episode,), _, _ = toy.collect(settings, tokenizer, [(task(3), 0)])
    assert len(episode.turns) == 4
    for last, turn in zip(episode.turns, episode.turns[1:], strict=False):
        so_far = last.prompt_ids + last.response_ids
        assert turn.prompt_ids[: len(so_far)] == so_far
        new = tokenizer.decode(turn.prompt_ids[len(so_far) :])
        listed = "\n".join(a for a in turn.view.admissible if a != "help")
        assert new == (
            f"\n<|im_start|>user\nNow: {turn.view.observation}\nActions:\n{listed}<|im_end|>\n<|im_start|>assistant\n"
        )
    # The whole of it is what the template would render, so the model sees its own format.
    text = tokenizer.decode(episode.turns[-1].prompt_ids)
    assert text.count("<|im_end|>") == 4 + 3  # four user messages, three responses: none is closed twice
    assert text.count("<|im_start|>assistant\n") == 4


def test_a_transcript_closes_a_response_that_was_cut(tokenizer) -> None:
    """Without the policy's own end token the environment's part writes it: the next message must not run on."""
    settings = toy.config(model={"max_response_tokens": 3}, **TRANSCRIPT)
    (episode,), _, _ = toy.collect(settings, tokenizer, [(task(3), 0)])
    first, second = episode.turns[:2]
    assert tokenizer.eos_token_id not in first.response_ids
    assert second.prompt_ids[len(first.prompt_ids) + len(first.response_ids)] == tokenizer.eos_token_id


def test_another_end_token_ends_a_response_too(tokenizer) -> None:
    """It is no part of the action's text, and the message is closed before the next one opens."""
    other = tokenizer.convert_tokens_to_ids("<|pad|>")

    class Other(ScriptedEngine):
        def answer(self, request):
            return [*super().answer(request)[:-1], other]

    engine = Other(tokenizer, toy.walker)
    engine.ends = frozenset([other, tokenizer.eos_token_id])
    out = Collector(toy.config(**TRANSCRIPT), toy.Corridor(), engine, tokenizer).collect(
        toy.assigned([(task(3), 0)]), Sampling(24)
    )
    first, second = out.episodes[0].turns[:2]
    assert (first.response, first.valid, first.truncated_response) == (say("go on"), True, False)
    added = tokenizer.decode(second.prompt_ids[len(first.prompt_ids) + len(first.response_ids) :])
    assert added.startswith("<|im_end|>\n<|im_start|>user\n")


def test_transcript_ids_are_not_tokenised_again(tokenizer) -> None:
    """A response whose ids are not what its text encodes to (letter by letter here) is kept as it was sampled."""

    class Letters(ScriptedEngine):
        def answer(self, request):
            text = say("go on")
            ids = [i for letter in text for i in tokenizer(letter, add_special_tokens=False)["input_ids"]]
            return [*ids, tokenizer.eos_token_id]

    settings = toy.config(**TRANSCRIPT)
    out = Collector(settings, toy.Corridor(), Letters(tokenizer, toy.walker), tokenizer).collect(
        toy.assigned([(task(3), 0)]), Sampling(200)
    )
    first, second = out.episodes[0].turns[:2]
    assert first.action == "go on" and first.valid
    canonical = tokenizer(first.response, add_special_tokens=False)["input_ids"]
    assert first.response_ids[:-1] != canonical
    assert second.prompt_ids[len(first.prompt_ids) :][: len(first.response_ids)] == first.response_ids


def test_a_transcript_that_does_not_fit_ends_its_episode_only(tokenizer) -> None:
    """Room for exactly two turns of a plain prompt; the episode with a skill in it is full after one."""
    (whole,), _, _ = toy.collect(toy.config(**TRANSCRIPT), tokenizer, [(task(9), 0)])
    room = len(whole.turns[1].prompt_ids) + 24

    def play(limit: int):
        settings = toy.config(model={"max_context_tokens": limit, "max_prompt_tokens": 60}, **TRANSCRIPT)
        assignment = [(task(9, 0), 0), (task(9, 1), 1), (task(0), 2)]
        return toy.collect(
            settings, tokenizer, assignment, skill_for=lambda each, goal: "look" * each.id.endswith("9-0")
        )

    episodes, engine, environment = play(room)
    assert [e.stop for e in episodes] == [StopReason.CONTEXT_FULL, StopReason.CONTEXT_FULL, StopReason.WON]
    assert [len(e.turns) for e in episodes] == [1, 2, 1]
    assert engine.calls == [3, 1] and environment.stepped == [(0, 1, 2), (1,)]
    assert [len(e.turns) for e in play(room - 1)[0]] == [1, 1, 1]


def test_progress_counts_ended_episodes(tokenizer) -> None:
    progress: list[int] = []
    toy.collect(toy.config(), tokenizer, [(task(d, d), d) for d in (0, 2, 9)], progress=progress.append)
    assert progress == [1, 2, 3]


def test_every_turn_has_its_own_seed(tokenizer) -> None:
    """One seed for all turns would repeat the same draws, and one per process would not resume."""
    seeds = []

    class Noting(ScriptedEngine):
        def answer(self, request):
            seeds.append(request.seed)
            return super().answer(request)

    collector = Collector(toy.config(), toy.Corridor(), Noting(tokenizer, toy.walker), tokenizer)
    collector.collect([Assignment(task(9), 0, (5, "rollout", 1, 0, 3))], Sampling(24))
    assert seeds == [seed_of(5, "rollout", 1, 0, 3, turn) for turn in range(4)]
    assert len(set(seeds)) == 4


def test_seed_of_is_the_same_everywhere() -> None:
    """The first 8 bytes of SHA-256 of ``0/rollout/1``, without the last bit; ``hash()`` would change per process."""
    assert seed_of(0, "rollout", 1) == 0xF754D9F034BC25AB >> 1
    assert seed_of(0, "rollout", 1) != seed_of(0, "rollout", 11)
    assert seed_of(0, "rollout", 1) != seed_of(0, "update", 1)


@pytest.mark.parametrize("placement", ["user", "system", "prefix"])
def test_the_skill_is_shown_where_it_is_wanted(tokenizer, placement: str) -> None:
    """``skill_for`` sees the task and its goal; without it the prompt holds no skill."""
    asked = []

    def skill_for(each, goal):
        asked.append((each.id, goal))
        return "Open every door."

    settings = toy.config(teacher={"placement": placement})
    (shown,), _, _ = toy.collect(settings, tokenizer, [(task(1), 0)], skill_for=skill_for)
    (plain,), _, _ = toy.collect(settings, tokenizer, [(task(1), 0)])
    assert asked == [(task(1).id, toy.GOAL)]
    for turn in shown.turns:
        assert "Open every door." in tokenizer.decode(turn.prompt_ids)
    for turn in plain.turns:
        assert "Open every door." not in tokenizer.decode(turn.prompt_ids)


def test_the_record_is_json(tokenizer) -> None:
    import json

    (episode,), _, _ = toy.collect(toy.config(), tokenizer, [(task(1), 0)])
    record = json.loads(json.dumps(episode.record().to_json()))
    assert record["stop"] == "won" and record["task"]["id"] == task(1).id
    assert record["turns"][0]["response_ids"] == episode.turns[0].response_ids


GUEST = """
import toy


class Guest(toy.Corridor):
    def reset(self, assignment):
        if FAIL == "reset":
            self.rooms[0]
        return super().reset(assignment)

    def step(self, actions):
        if FAIL == "step":
            raise KeyError(
                "no such room"
            )
        return super().step(actions)
"""


@pytest.mark.parametrize("method, words", [("reset", "AttributeError"), ("step", "KeyError: 'no such room'")])
def test_an_exception_in_a_guests_environment_names_its_file_and_line(
    tokenizer, tmp_path: Path, monkeypatch, method: str, words: str
) -> None:
    file = tmp_path / f"guest_{method}.py"
    file.write_text(f"FAIL = {method!r}\n{GUEST}", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = __import__(file.stem)
    try:
        player = Collector(toy.config(), module.Guest(), ScriptedEngine(tokenizer, toy.walker), tokenizer)
        with pytest.raises(RunFailedError, match=f"^Guest.{method} of environment .* failed: {words}") as stopped:
            player.collect(toy.assigned([(task(1), 0)]), Sampling(24))
    finally:
        del sys.modules[file.stem]
    lines = file.read_text(encoding="utf-8").splitlines()
    culprit = {"reset": "self.rooms", "step": "raise KeyError"}[method]
    (number,) = (i for i, line in enumerate(lines, 1) if culprit in line)
    assert f"{file}, line {number}, in {method}" in stopped.value.why
    assert stopped.value.__cause__ is not None


def test_an_environments_own_errors_pass_as_they_are(tokenizer) -> None:
    class Closed(toy.Corridor):
        def step(self, actions):
            raise PrerequisiteError("the server is down", fix="start it")

    player = Collector(toy.config(), Closed(), ScriptedEngine(tokenizer, toy.walker), tokenizer)
    with pytest.raises(SdarError) as stopped:
        player.collect(toy.assigned([(task(1), 0)]), Sampling(24))
    assert type(stopped.value) is PrerequisiteError


def test_ctrl_c_in_an_environment_is_no_failure_of_it(tokenizer) -> None:
    class Pressed(toy.Corridor):
        def step(self, actions):
            raise KeyboardInterrupt

    player = Collector(toy.config(), Pressed(), ScriptedEngine(tokenizer, toy.walker), tokenizer)
    with pytest.raises(KeyboardInterrupt):
        player.collect(toy.assigned([(task(1), 0)]), Sampling(24))
