"""Statistics of success rates, as pure functions: one file per question (docs/statistics.md).

scipy is imported inside the functions that need it.
"""

from sdar_cli.stats.curve import early_speed
from sdar_cli.stats.holm import holm
from sdar_cli.stats.proportion import wilson
from sdar_cli.stats.seeds import SeedsNeeded, mean_sd, seed_by_seed, seeds_needed, t_interval, t_power, welch
from sdar_cli.stats.tasks import PairedDifference, mcnemar, paired, sign_flip, tasks_needed
from sdar_cli.stats.twolevel import MIN_SEEDS, two_level
from sdar_cli.stats.types import Difference, Interval

__all__ = [
    "MIN_SEEDS", "Difference", "Interval", "PairedDifference", "SeedsNeeded", "early_speed", "holm", "mcnemar",
    "mean_sd", "paired", "seed_by_seed", "seeds_needed", "sign_flip", "t_interval", "t_power", "tasks_needed",
    "two_level", "welch", "wilson",
]  # fmt: skip
