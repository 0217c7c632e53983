"""The ways of playing a panel: with or without the skill in the prompt, sampled or greedy, over sampling seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """One way of playing the panel: ``decoding`` is ``sampled`` or ``greedy``."""

    with_skill: bool
    decoding: str
    temperature: float
    seeds: tuple[int, ...]

    @property
    def label(self) -> str:
        """For example ``no skill, sampled T=0.4``."""
        skill = "with skill" if self.with_skill else "no skill"
        return f"{skill}, greedy" if self.decoding == "greedy" else f"{skill}, sampled T={self.temperature:g}"


def settings_for(decodings: Sequence[str], skills: Sequence[bool], temperature: float, seeds: int) -> list[Setting]:
    """Every combination.  Greedy decoding draws nothing, so it is played once whatever ``seeds``."""
    return [
        Setting(with_skill, decoding, temperature, tuple(range(1 if decoding == "greedy" else seeds)))
        for decoding in decodings
        for with_skill in skills
    ]
