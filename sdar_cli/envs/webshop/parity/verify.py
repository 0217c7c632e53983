"""Golden files replayed: what the original engine gave for a catalogue, record by record against this engine.

A folder of golden files holds any of these, as JSON lines unless named ``.json``:
- ``golden_goals_human`` and ``golden_goals_synthetic``: every goal, in order;
- ``golden_prices_human.json`` and ``…synthetic.json``: ``seed_before_load``, the seed that prices and the limits in
  the goals were drawn with (4 without this file), and the price of every product;
- ``golden_rewards``: purchases with all parts of their rewards;
- ``golden_episodes``, more named ``golden_episodes_…`` (``…show_attrs``: with the Attributes page) and
  ``golden_edge``: actions with what was seen after each;
- ``golden_search``: queries with the first 50 products; ``golden_analyzer``: texts with their index terms;
- ``golden_nouns``: nouns of titles.  It is not compared: rewards are counted with it, so that they do not depend on
  the tagger installed here.  Without it the catalogue's own are used.

A record agrees when nothing in it differs.  Steps on which the original fails and this engine changes nothing
(``shop.DEVIATIONS``) are counted apart.  Of an episode only the first difference counts: the rest follows from it.

Errors: PrerequisiteError when there is no golden file, or one is not as described.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.base.files import parse_json
from sdar_cli.envs.webshop.catalogue.catalog import open_catalog
from sdar_cli.envs.webshop.catalogue.nouns import Nouns, open_nouns
from sdar_cli.envs.webshop.env import open_index
from sdar_cli.envs.webshop.lucene.analyzer import analyze
from sdar_cli.envs.webshop.lucene.bm25 import Index
from sdar_cli.envs.webshop.parity.differ import ABSENT, Finding, Findings, differences, shown
from sdar_cli.envs.webshop.store.goals import PRICE_SEED, Goal, Goals, Kind, load_goals
from sdar_cli.envs.webshop.store.reward import score
from sdar_cli.envs.webshop.store.shop import HITS, Mode, Shop, ShopSession

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter

NOUNS_FILE = "golden_nouns.jsonl"
SHOWN = 5
"""Differences kept per file, one per record."""
SCORE_ERROR = 1.1e-4
"""Anserini rounds a search's scores to 1e-4, then lowers equal ones by 1e-6 each."""
FAILING = ("search[<a>", "search[<c>", "search[<r>", "click[")
"""How the actions of ``shop.DEVIATIONS`` begin."""


class Difference(NamedTuple):
    """One thing that is not as in the golden file.  ``record`` counts from 0."""

    record: int
    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"record {self.record}, {self.what}: expected {self.expected}, found {self.found}"


class _Prices(NamedTuple):
    """``golden_prices_….json``: the seed that prices were drawn with, and the price by asin."""

    seed_before_load: int
    prices: Mapping[str, object]


@dataclass
class FileReport:
    """How many records of a file agree, the first differences, and how many steps only the original fails on."""

    name: str
    records: int = 0
    agreeing: int = 0
    deviations: int = 0
    differences: list[Difference] = field(default_factory=list)

    def __str__(self) -> str:
        apart = f", {self.deviations} documented deviations" if self.deviations else ""
        return f"{self.name}: {self.agreeing} of {self.records} records agree{apart}"


@dataclass(frozen=True)
class Report:
    """What was compared.  ``tagger``: where nouns of titles came from; None when no purchase was compared."""

    data: Path
    against: Path
    files: list[FileReport]
    tagger: str | None

    @property
    def records(self) -> int:
        """Records compared."""
        return sum(file.records for file in self.files)

    @property
    def differing(self) -> int:
        """Records that do not agree."""
        return self.records - sum(file.agreeing for file in self.files)


def verify(
    folder: Path,
    against: Path,
    progress: Callable[[FileReport], None] | None = None,
    *,
    strict: bool = False,
    reporter: Reporter | None = None,
) -> Report:
    """Compare the catalogue in ``folder`` with the golden files in ``against``; ``progress`` gets each file's report.

    strict: refuse a catalogue with rows or entries on which the original fails.  reporter: shown the progress on a
    large catalogue, and warned of nouns that are guessed.
    Raises PrerequisiteError as above, and for a catalogue that cannot be used.
    """
    files = find_golden(against)
    engine = _Engine(folder, against, strict, reporter)
    reports = []
    for path, check in files:
        report = FileReport(path.name)
        for number, findings in enumerate(check(engine, path)):
            _count(report, number, findings)
        reports.append(report)
        if progress:
            progress(report)
    return Report(folder, against, reports, engine.tagger)


def _count(report: FileReport, number: int, findings: Findings) -> None:
    """Enter one record."""
    found = list(findings)
    wrong = [finding for finding in found if not finding.documented]
    report.records += 1
    report.agreeing += not wrong
    report.deviations += len(found) - len(wrong)
    if wrong and len(report.differences) < SHOWN:
        report.differences.append(Difference(number, *wrong[0][:3]))


class _Engine:
    """The catalogue and what is made of it, each when first needed."""

    def __init__(self, folder: Path, against: Path, strict: bool, reporter: Reporter | None) -> None:
        self._folder, self._against, self._strict, self._reporter = folder, against, strict, reporter
        self.catalog = open_catalog(folder, strict=strict, reporter=reporter)
        self._shops: dict[tuple[Kind, Mode, bool], Shop] = {}
        self.goals: Callable[[Kind], Goals] = functools.cache(self._goals)

    def _goals(self, kind: Kind) -> Goals:
        prices = self._against / f"golden_prices_{kind}.json"
        seed = _read_prices(prices).seed_before_load if prices.is_file() else PRICE_SEED
        return load_goals(self.catalog, kind, price_seed=seed, strict=self._strict)

    @functools.cached_property
    def index(self) -> Index:
        return open_index(self.catalog, self._reporter)

    @functools.cached_property
    def nouns(self) -> Nouns:
        path = self._against / NOUNS_FILE
        if not path.is_file():
            return open_nouns(self._folder, self._reporter.warn if self._reporter else None)
        return Nouns({row["name"]: row["nouns"] for row in _rows(path, "name", "nouns")}, NOUNS_FILE)

    @property
    def tagger(self) -> str | None:
        return self.nouns.tagger_id if "nouns" in self.__dict__ else None

    def shop(self, kind: Kind, mode: Mode, show_attrs: bool) -> Shop:
        how = (kind, mode, show_attrs)
        if how not in self._shops:
            self._shops[how] = Shop(
                self.catalog, self.goals(kind), self.index, self.nouns, mode=mode, show_attrs=show_attrs
            )
        return self._shops[how]

    def asins(self, docids: Iterable[int]) -> list[str]:
        return [self.catalog.product(docid).asin for docid in docids]


# -- What is compared, by kind of file.  Each check yields the findings of one record after the other.


def _check_goals(engine: _Engine, path: Path) -> Iterator[Findings]:
    goals = engine.goals(_kind_of(path))
    rows = _rows(path, "idx", "instruction_text", "goal_options")
    for row, goal in itertools.zip_longest(rows, goals):
        found = None if goal is None else {"idx": goal.index, **_goal_record(goal, goals.kind)}
        yield differences("goal", row, found)


def _check_prices(engine: _Engine, path: Path) -> Iterator[Findings]:
    expected, prices = _read_prices(path).prices, engine.goals(_kind_of(path)).prices
    found = dict(zip(engine.catalog.asins(), prices.tolist(), strict=True))
    for asin in [*expected, *(asin for asin in found if asin not in expected)]:
        yield differences(f"price of {asin}", expected.get(asin), found.get(asin))


def _check_rewards(engine: _Engine, path: Path) -> Iterator[Findings]:
    parts = ("price", "info", "reward", "attr_matches", "option_matches")
    for row in _rows(path, "goals", "goal_idx", "asin", "options", *parts):
        yield _reward(engine, row, {name: row[name] for name in parts})


def _reward(engine: _Engine, row: Mapping[str, Any], expected: Mapping[str, Any]) -> Findings:
    goals, docid = engine.goals(row["goals"]), engine.catalog.docid(row["asin"])
    if docid is None or not 0 <= row["goal_idx"] < len(goals):
        yield Finding("purchase", f"product {row['asin']} and goal {row['goal_idx']}", ABSENT)
        return
    goal, price = goals[row["goal_idx"]], float(goals.prices[docid])
    if "goal" in row:
        yield from differences("goal", row["goal"], _goal_record(goal, goals.kind))
    reward = score(engine.catalog.product(docid), goal, price, row["options"], engine.nouns)
    found = {
        "price": price,
        "info": reward.info(),
        "reward": reward.total,
        "attr_matches": reward.attr_matches,
        "option_matches": reward.option_matches,
    }
    yield from differences("purchase", expected, found)


def _check_episodes(engine: _Engine, path: Path) -> Iterator[Findings]:
    for row in _rows(path, "goals", "session", "reset", "steps"):
        yield _episode(engine, row, "show_attrs" in path.stem)


def _episode(engine: _Engine, row: Mapping[str, Any], show_attrs: bool) -> Findings:
    shop = engine.shop(row["goals"], row.get("mode", "text"), show_attrs)
    if row["session"] >= len(shop.goals):
        yield Finding("goal", f"number {row['session']}", ABSENT)
        return
    session = shop.start(row["session"], seed=row.get("py_random_seed_before_reset", 0))
    for finding in _play(session, row):
        yield finding
        if not finding.documented:
            return


def _play(session: ShopSession, row: Mapping[str, Any]) -> Findings:
    """Every difference of an episode.  Of goal, reset and purchase, what the record does not name is not compared."""
    if "goal" in row:
        yield from differences("goal", row["goal"], _goal_record(session.goal, session.shop.goals.kind))
    reset = row["reset"] if isinstance(row["reset"], dict) else {"obs": row["reset"]}
    yield from differences("reset", reset, _named(reset, _seen(session)))
    for number, step in enumerate(row["steps"]):
        before = _seen(session)
        turn = session.step(step["action"])
        now = {**_seen(session), "reward": turn.reward, "done": turn.done}
        place = f"step {number} {step['action']}"
        if "raises" not in step:
            expected = {name: value for name, value in step.items() if name != "action"}
            yield from differences(place, expected, _named(expected, now))
        elif now == {**before, "reward": 0.0, "done": False} and step["action"].startswith(FAILING):
            yield Finding(place, step["raises"], "no change", documented=True)
        else:
            yield Finding(place, f"the original fails: {step['raises']}", shown(session.observation))
    if "info" in row:
        yield from differences("info", row["info"], session.purchase.info() if session.purchase else None)


def _seen(session: ShopSession) -> Mapping[str, object]:
    """What an episode shows, under the golden files' names."""
    avail = {"has_search_bar": session.has_search_bar, "clickables": session.clickables}
    return {"obs": session.observation, "avail": avail, "url": session.url}


def _named(expected: Mapping[str, object], found: Mapping[str, object]) -> Mapping[str, object]:
    return {name: found[name] for name in expected if name in found}


def _check_search(engine: _Engine, path: Path) -> Iterator[Findings]:
    for row in _rows(path, "query", "asins"):
        yield _search(engine, row)


def _search(engine: _Engine, row: Mapping[str, Any]) -> Findings:
    hits = engine.index.search_scores(row["query"], HITS)
    place = f"search {shown(row['query'])}"
    yield from differences(f"{place} products", row["asins"], engine.asins(docid for docid, _ in hits))
    scores = [given for _, given in hits]
    for number, (expected, found) in enumerate(zip(row.get("scores", ()), scores, strict=False)):
        if abs(expected - found) > SCORE_ERROR:
            yield from differences(f"{place} scores[{number}]", expected, found)
            return


def _check_analyzer(engine: _Engine, path: Path) -> Iterator[Findings]:
    for row in _rows(path, "text", "tokens"):
        yield differences(f"terms of {shown(row['text'])}", row["tokens"], analyze(row["text"]))


Check = Callable[[_Engine, Path], Iterator[Findings]]
CHECKS: dict[str, Check] = {
    "golden_goals_human.jsonl": _check_goals,
    "golden_goals_synthetic.jsonl": _check_goals,
    "golden_prices_human.json": _check_prices,
    "golden_prices_synthetic.json": _check_prices,
    "golden_rewards.jsonl": _check_rewards,
    "golden_episodes*.jsonl": _check_episodes,
    "golden_edge.jsonl": _check_episodes,
    "golden_search.jsonl": _check_search,
    "golden_analyzer.jsonl": _check_analyzer,
}
"""Names of golden files, in the order they are compared: causes before what follows from them."""


def find_golden(folder: Path) -> list[tuple[Path, Check]]:
    """The golden files of a folder.  Raises PrerequisiteError when there is none."""
    found = [(path, check) for name, check in CHECKS.items() for path in sorted(folder.glob(name))]
    if not found:
        raise PrerequisiteError(
            f"{folder} holds no golden file",
            why=f"looked for {', '.join(CHECKS)}",
            fix="name a folder of outputs of the original engine",
        )
    return found


def _kind_of(path: Path) -> Kind:
    return "human" if path.stem.endswith("human") else "synthetic"


def _rows(path: Path, *needed: str) -> list[Mapping[str, Any]]:
    """The records of a file of JSON lines, each with the fields needed."""
    rows = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file):
            try:
                row = parse_json(line)
            except ValueError as error:
                raise _broken(path, f"record {number} is not JSON: {error}") from error
            missing = [name for name in needed if not isinstance(row, dict) or name not in row]
            if missing:
                raise _broken(path, f"record {number} has no {', '.join(missing)}")
            rows.append(row)
    return rows


def _read_prices(path: Path) -> _Prices:
    try:
        content = parse_json(path.read_bytes())
    except ValueError as error:
        raise _broken(path, str(error)) from error
    fields = {"seed_before_load": int, "prices": dict}
    if not isinstance(content, dict) or not all(isinstance(content.get(name), kind) for name, kind in fields.items()):
        raise _broken(path, "it should hold seed_before_load and prices by asin")
    return _Prices(content["seed_before_load"], content["prices"])


def _broken(path: Path, why: str) -> PrerequisiteError:
    return PrerequisiteError(f"golden file {path} cannot be used", why=why, fix="make it again, or take it away")


def _goal_record(goal: Goal, kind: Kind) -> Mapping[str, object]:
    """A goal as the original holds it, without its number."""
    pairs = kind == "synthetic" or any(isinstance(option, tuple) for option in goal.options)
    return {
        "asin": goal.asin,
        "instruction_text": goal.instruction,
        "attributes": list(goal.attributes),
        "price_upper": goal.price_upper,
        "goal_options": dict(goal.options) if pairs else list(goal.options),  # type: ignore[arg-type]
        "weight": goal.weight,
        "category": goal.category,
        "query": goal.query,
        "product_category": goal.product_category,
        "name": goal.title,
    }
