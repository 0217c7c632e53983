"""The example environment with one promise broken at a time: what ``sdar env check`` must find."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from places import ROOT

sys.path.append(str(ROOT / "examples" / "corridor"))

import corridor

_counter = itertools.count()


def _with(**methods: Callable[..., Any]) -> Any:
    """The record with methods of the environment replaced; each gets the environment and the original method."""
    changed = type("Broken", (corridor.Corridor,), {})
    for name, method in methods.items():
        original = getattr(corridor.Corridor, name)
        setattr(changed, name, lambda self, *args, _m=method, _o=original: _m(self, _o, *args))

    @contextmanager
    def opened(options: Any, reporter: Any = None):
        yield changed(options)

    return replace(corridor.BENCHMARK, open=opened)


def _unsorted(self, original, split):
    return original(self, split)[::-1]


def _unstable(self, original, split):
    return [replace(task, content=f"{task.content} {next(_counter)}") for task in original(self, split)]


def _finished(self, original, assignment):
    return {slot: replace(step, done=True) for slot, step in original(self, assignment).items()}


def _random(self, original, actions):
    answers = original(self, actions)
    return {
        slot: replace(step, observation=replace(step.observation, text=f"{step.observation.text} {next(_counter)}"))
        for slot, step in answers.items()
    }


def _all_slots(self, original, actions):
    return {slot: episode.step("Still here.") for slot, episode in self._episodes.items()} | original(self, actions)


def _forgetful(self, original, assignment):
    known = {slot: task for slot, task in assignment.items() if slot not in self._episodes}
    original(self, known)
    return {slot: self._episodes[slot].step("Again.") for slot in assignment}


def _fragile(self, original, actions):
    for action in actions.values():
        if not action.strip():
            raise KeyError("an empty action")
    return original(self, actions)


def _unpaid(self, original, actions):
    return {slot: replace(step, reward=0.0) for slot, step in original(self, actions).items()}


KEPT = corridor.BENCHMARK
UNSORTED = _with(tasks=_unsorted)
UNSTABLE = _with(tasks=_unstable)
FINISHED = _with(reset=_finished)
RANDOM = _with(step=_random)
ALL_SLOTS = _with(step=_all_slots)
FORGETFUL = _with(reset=_forgetful)
FRAGILE = _with(step=_fragile)
UNPAID = _with(step=_unpaid)
WITHOUT_SKILL = replace(corridor.BENCHMARK, bank=Path(__file__).parent)
WORDY = replace(corridor.BENCHMARK, prompts=replace(corridor.BENCHMARK.prompts, body=lambda text: "word " * 3000))
