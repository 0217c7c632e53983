"""The settings that every environment has (``env.*``); each environment adds its own in a subclass."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sdar_cli.base.section import Fraction, NonNegative, Positive, Section


class EnvOptions(Section):
    """Common settings.  A subclass gives ``name`` its default and adds fields of its own."""

    name: str = Field(description="the environment")
    source: Literal["generated", "real"] = Field(
        default="generated", description="generated data (no download), or the files of the original"
    )
    data: str | None = Field(default=None, description="folder of the original's files; implies source=real")
    games_seed: NonNegative = Field(default=0, description="seed of the generated data")
    train_split: str = Field(default="train", description="split trained on")
    max_turns: Positive = Field(default=15, description="turns before an episode is stopped")
    workers: NonNegative = Field(
        default=0, description="processes of an environment that runs in several; 0 = one per core"
    )
    max_failed: Fraction = Field(default=0.25, description="share of failed episodes in a step that stops the run")
    prompt: Literal["compact", "full"] = Field(
        default="compact", description="prompt wording: short, or with instructions"
    )
    context: Literal["window", "transcript"] = Field(
        default="window", description="one prompt per turn from the last turns, or one growing sequence per episode"
    )
    history: NonNegative = Field(default=2, description="past (observation, action) pairs shown, context=window only")
    valid_action: Literal["admissible", "format", "released"] = Field(
        default="admissible",
        description="a valid action: format and in the admissible list; format only; the released code's rule",
    )
    max_observation_tokens: NonNegative = Field(
        default=0, description="tokens of an observation, the rest is cut off; 0 = all of it"
    )
    win_reward: float = Field(default=1.0, description="reward of a won episode")
