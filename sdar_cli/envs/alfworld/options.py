"""The settings of ALFWorld."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sdar_cli.base.section import Positive
from sdar_cli.envs.options import EnvOptions


class AlfworldOptions(EnvOptions):
    """``data``: the folder that holds json_2.1.1, or that folder; without it $ALFWORLD_DATA counts for real games."""

    name: str = Field(default="alfworld", description="the environment")
    size: Literal["small", "full"] = Field(default="small", description="size of generated houses")
    games_train: Positive = Field(default=120, description="number of generated training games")
    games_eval: Positive = Field(default=66, description="number of generated held-out games")
    step_timeout: float = Field(
        default=120.0, gt=0, description="seconds a worker may take to answer before it is restarted"
    )
