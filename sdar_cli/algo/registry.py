"""What the names of gates, objectives, shapings and schedules stand for.  Nothing here imports torch."""

from __future__ import annotations

from sdar_cli.base.plugins import Kind

GATE = Kind("gate", "sdar_cli.algo.gates", "GATES", ("batch", "beta"))
OBJECTIVE = Kind("objective", "sdar_cli.algo.objectives", "OBJECTIVES", ("batch", "weight"))
SHAPING = Kind("shaping", "sdar_cli.algo.shaping", "SHAPINGS", ("batch", "coef", "clip"), optional=True)
SCHEDULE = Kind("schedule", "sdar_cli.algo.schedule", "SCHEDULES", ("step", "over", "start", "end"))
