"""The door for environments: one frozen record holds everything the rest of the program needs of a benchmark.

A built-in benchmark is a folder here with a module ``benchmark`` that holds its record.  A guest's is a record in a
package of its own, named by an entry point of the group ``sdar.environment`` or by an import path.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sdar_cli.base.errors import Missing
from sdar_cli.envs.actions import ParsedAction
from sdar_cli.envs.base import Environment, Trace, TurnView

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.envs.options import EnvOptions

Message = dict[str, str]


class Prompts(Protocol):
    """The wording of an environment, usually a module of functions."""

    def messages(self, view: TurnView, style: str, skill: str = "", placement: str = "user") -> list[Message]:
        """The chat messages of one turn.  style: ``compact`` or ``full``; skill: text shown to the teacher, or
        nothing; placement: where it stands, ``user`` or ``system``."""
        ...

    def follow_up(self, view: TurnView, style: str) -> list[Message]:
        """The messages that continue a transcript: what is new since the last action."""
        ...

    def body_of(self, text: str) -> str:
        """The part of an observation that a prompt shows and may shorten."""
        ...

    def parse_action(self, response: str, admissible: Collection[str], rule: str) -> ParsedAction:
        """The action in a response; see ``envs.actions.parse_action``."""
        ...


class Steps(Protocol):
    """An environment's episodes as steps, for the skill builder ``contrast``; usually a module of functions."""

    def steps(self, trace: Trace) -> list[tuple[int, str]]:
        """(turn from 0, step) of an episode, in order."""
        ...

    def brief(self, order: Sequence[str]) -> str:
        """An order of steps as one sentence."""
        ...

    def general_brief(self, good: Sequence[str], bad: Sequence[str]) -> str:
        """One sentence from the steps that go with won or lost episodes of every type; empty where there are none."""
        ...


class RunSettings(Protocol):
    """What a benchmark may read of a run's configuration."""

    @property
    def env(self) -> Any: ...
    @property
    def model(self) -> Any: ...
    @property
    def train(self) -> Any: ...
    @property
    def eval(self) -> Any: ...


class Problem(NamedTuple):
    """A contradiction between settings: the dotted keys involved, and what is wrong."""

    keys: tuple[str, ...]
    text: str


class Check(NamedTuple):
    """One row of ``sdar doctor``.  state: ``ok``, ``missing`` or ``optional``."""

    state: str
    name: str
    found: str
    needed: str
    fix: str = ""


class Rates(NamedTuple):
    """Success of an evaluation: by task type, and of all episodes; fractions."""

    types: Mapping[str, float]
    overall: float


def _no_problem(config: RunSettings) -> Sequence[Any]:
    return ()


def _nothing_missing(options: Any) -> list[Missing]:
    return []


def _unknown_splits(options: Any) -> None:
    return None


@dataclass(frozen=True)
class PlayRules:
    """How ``sdar play`` finds a task and reads a script of actions."""

    split: str = "train"
    """The split that is listed where none is named."""
    split_in_id: bool = False
    """A task's id begins with its split; elsewhere the environment has a method ``task(id)``."""
    examples: tuple[str, ...] = ("",)
    """Options of ``sdar play NAME``, one line of the help each."""
    verbatim: bool = False
    """Actions of a script keep the blanks around them."""
    past_end: bool = False
    """A script may continue after the end of the episode."""


@dataclass(frozen=True)
class Benchmark:
    """An environment and everything around it."""

    name: str
    title: str
    """As people write it."""
    description: str
    """One line for lists."""
    options: type[EnvOptions]
    """Its settings: a subclass of ``EnvOptions`` that gives ``name`` its default and adds its own fields."""
    open: Callable[[Any, Reporter | None], AbstractContextManager[Environment]]
    """(options, reporter) to the environment.  Raises PrerequisiteError where data is missing."""
    prompts: Prompts
    bank: str | Path
    """Its skill bank: the name of a bundled one, or a folder."""
    default_model: str
    """What ``--env`` uses without ``--model``: a model preset, a Hugging Face id or a folder."""
    preset: Path | None = None
    """A guest's settings, a TOML file; a built-in benchmark has presets of its own in ``presets/envs``."""
    noun: str = "tasks"
    """What its tasks are called: games, goals, questions."""
    held_out: Callable[[Any], str] = lambda options: "eval"
    """The split that an evaluation plays unless ``eval.split`` names another."""
    panel_size: Callable[[Any], int | None] = lambda options: None
    """Tasks of the held-out split, where the settings give it without opening the data."""
    missing: Callable[[Any], list[Missing]] = _nothing_missing
    """Which data are missing, found without opening them."""
    splits: Callable[[Any], Sequence[str] | None] = _unknown_splits
    """The splits that the data have, found without opening them; None where that is not known."""
    problems: Callable[[RunSettings], Sequence[Problem]] = _no_problem
    """Settings that contradict each other."""
    warnings: Callable[[RunSettings], Sequence[str]] = _no_problem
    """Settings that are legal and probably not meant, each with what to do instead."""
    no_effect: frozenset[str] = frozenset()
    """Its settings on which no outcome depends (processes, time-outs)."""
    metrics: tuple[str, ...] = ()
    """Names of metrics that an evaluation always shows besides success (``evaluation/metrics.py``)."""
    means: Callable[[Rates], Mapping[str, float]] = lambda rates: {}
    """Further means over task types that an evaluation reports, by name."""
    steps: Callable[[], Steps] | None = None
    """Its episodes as steps, for the skill builder ``contrast``."""
    data: Callable[[], Mapping[str, Callable[..., None]]] = dict
    """Commands of ``sdar data``: ``make`` and ``verify`` to a function with Typer options; without ``verify`` the data
    are opened and checked."""
    packages: tuple[str, ...] = ()
    """Packages whose versions a run records."""
    checks: Callable[[], Sequence[Check]] = tuple
    """Rows for ``sdar doctor``."""
    play: PlayRules = field(default_factory=PlayRules)
