"""What is compared: arms, each of one or more evaluated checkpoints.

A reference is ``RUN``, ``RUN@STEP``, a pattern such as ``sdar-s*``, several of them joined by commas, a point of a
sweep ``SWEEP:POINT``, or the JSON file that ``sdar eval`` wrote.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdar_cli.base.errors import ConfigError
from sdar_cli.config.merge import suggest
from sdar_cli.runs.rundir import RUNS_DIR, RunDir, list_runs

WILD = set("*?[")


@dataclass(frozen=True)
class Member:
    """One checkpoint.  step: the evaluation after that step; None, the last one.  file: an evaluation without a run."""

    run: RunDir | None = None
    step: int | None = None
    file: Path | None = None

    @property
    def title(self) -> str:
        """``name``, ``name@6`` or the file."""
        if self.run is None:
            return str(self.file)
        return self.run.name if self.step is None else f"{self.run.name}@{self.step}"


@dataclass(frozen=True)
class Arm:
    """A label and its members: the seeds of one method, or one checkpoint."""

    label: str
    members: tuple[Member, ...]

    @property
    def runs(self) -> list[RunDir]:
        """The runs of the members that have one."""
        return [member.run for member in self.members if member.run is not None]


@dataclass(frozen=True)
class Places:
    """Where runs and sweeps lie."""

    runs: Path = RUNS_DIR
    sweeps: Path = Path("sweeps")


def resolve_arms(references: Sequence[str], named: Sequence[str], places: Places) -> list[Arm]:
    """The arms of ``REFERENCE ...`` and of ``LABEL=REFERENCE``.

    Raises ConfigError for what does not exist, labels given twice, a checkpoint listed twice, and no arms.
    """
    arms = [arm for reference in references for arm in _arms_of(reference, places)]
    for text in named:
        label, equals, listed = text.partition("=")
        if not equals or not label.strip() or not listed.strip():
            raise ConfigError(f"--arm {text}: no label and runs", fix="--arm LABEL=RUN,RUN")
        members = [member for arm in _arms_of(listed, places) for member in arm.members]
        arms.append(Arm(label.strip(), tuple(members)))
    if not arms:
        raise ConfigError("nothing to compare", fix="sdar compare RUN RUN, or --arm LABEL=RUN,RUN")
    labels = [arm.label for arm in arms]
    twice = [label for label in dict.fromkeys(labels) if labels.count(label) > 1]
    if twice:
        raise ConfigError(f"{', '.join(twice)} is compared with itself", fix="name each arm once")
    for arm in arms:
        _refuse_repeats(arm)
    return arms


def _refuse_repeats(arm: Arm) -> None:
    keys = [(m.run.path.resolve() if m.run else m.file, m.step) for m in arm.members]
    for member, key in zip(arm.members, keys, strict=True):
        if keys.count(key) > 1:
            raise ConfigError(
                f"{member.title} is in arm {arm.label} more than once",
                why="a run that counts twice makes the arm look more certain than it is",
                fix="list each run once",
            )


def _arms_of(reference: str, places: Places) -> list[Arm]:
    """One arm, or one for every point that ``SWEEP:PATTERN`` matches."""
    if "," not in reference and ":" in reference and not reference.endswith(".json"):
        return _points_of(reference, places)
    members = [member for part in reference.split(",") if part.strip() for member in _members(part.strip(), places)]
    return [Arm(reference, tuple(members))]


def _members(reference: str, places: Places) -> list[Member]:
    if reference.endswith(".json"):
        path = Path(reference).expanduser()
        if path.is_file():
            return [Member(file=path)]
        raise ConfigError(f"no evaluation {reference}", fix="sdar eval writes runs/RUN/eval/NAME.json")
    name, at, number = reference.rpartition("@")
    if not at:
        name, number = reference, ""
    elif not number.isdigit():
        raise ConfigError(f"{reference}: {number!r} is no step", fix=f"{name}@12")
    step = int(number) if number else None
    return [Member(run, step) for run in _runs(name, places.runs)]


def _runs(name: str, runs_dir: Path) -> list[RunDir]:
    if not WILD & set(name):
        return [RunDir.open(name, runs_dir)]
    known = list_runs(runs_dir)
    found = [run for run in known if fnmatch.fnmatchcase(run.name, name)]
    if not found and "/" in name:
        folder, _, pattern = name.rpartition("/")
        found = [run for run in list_runs(Path(folder).expanduser()) if fnmatch.fnmatchcase(run.name, pattern)]
    if not found:
        raise ConfigError(
            f"no run matches {name!r}{suggest(name, [run.name for run in known], '/')}",
            why=f"{len(known)} runs lie under {runs_dir}",
            fix=f"sdar runs list --runs-dir {runs_dir}",
        )
    return found


def _points_of(reference: str, places: Places) -> list[Arm]:
    from sdar_cli.sweep.state import SweepDir

    name, _, pattern = reference.partition(":")
    sweep = SweepDir.open(name, places.sweeps)
    labels = [point.label for point in sweep.points]
    wanted = [p for p in sweep.points if pattern in ("", p.label, p.slug) or fnmatch.fnmatchcase(p.label, pattern)]
    if not wanted:
        raise ConfigError(
            f"sweep {name} has no point {pattern!r}{suggest(pattern, labels)}",
            why=f"its points are {', '.join(labels)}",
        )
    arms = []
    for point in wanted:
        jobs = [job for job in sweep.runs_of(point) if sweep.state(job) == "done"]
        if not jobs:
            raise ConfigError(f"no run of {name}:{point.label} is done", fix=f"sdar sweep --resume {name}")
        arms.append(Arm(point.label, tuple(Member(sweep.run_dir(job)) for job in jobs)))
    return arms
