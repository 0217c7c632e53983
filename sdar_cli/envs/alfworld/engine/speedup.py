"""A faster textworld 1.7.0 with the same output: what it recomputes at every command is remembered.

The stock engine parses each text fragment again for every admissible command, deep-copies the context of
every derivation and translates a game four times per load and reset.  ``speed_up`` replaces these parts by
assignment, in this process only.  The attributes are checked first; any other textworld runs untouched.

Left out: the planner.  Its own, second translation is skipped, so ``policy_commands`` and a planned
walkthrough are not available after ``speed_up()``; call ``speed_up(planner=True)`` to keep them.
"""

from __future__ import annotations

import functools
import os
import re
import struct
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypedDict

from sdar_cli.envs.alfworld.engine import derivation

TEXTWORLD_VERSION = "1.7.0"
TRANSLATIONS_KEPT = 64
FRAGMENTS_KEPT = 16384
GRAMMARS_KEPT = 64
INSTANCES_KEPT = 100_000
ELF_LOAD = 1
TASK_LINE = re.compile(r"(?<=\"rhs\": \")Your task is to: [\w ,.]+(?=\")")
STAND_IN = "Your task is to: STAND IN"

REPLACED = {
    "textworld.envs.pddl.textgen": (
        "_parse_and_convert",
        "copy_context",
        "Symbol.copy",
        "EvalSymbol.derive",
        "ContextSensitiveGrammar.replace",
        "ListSymbol",
        "CSGUnknownSymbolError",
    ),
    "textworld.envs.pddl.logic": (
        "_parse_and_convert",
        "PddlState.add_fact",
        "PddlState.remove_fact",
        "PddlState.all_assignments",
        "PddlState.all_applicable_actions",
    ),
    "textworld.envs.pddl.pddl": ("PddlEnv._gather_infos",),
    "textworld.logic": ("Rule.parse_conjunctive_query",),
    "fast_downward": ("pddl2sas", "load_lib"),
    "fast_downward.interface": ("DOWNWARD_LIB_PATH",),
    "mementos.core": ("_memento_cache",),
}
"""What is replaced or relied on, per module; a missing one means another textworld."""

_done: list[str] = []


def speed_up(planner: bool = False) -> list[str]:
    """Replace the slow parts of textworld and return their names; empty when this textworld is not the known one.

    Calling it again changes nothing.  planner: keep the planner's own translation of each game.
    """
    if _done:
        return list(_done)
    problem = mismatch()
    if problem:
        warnings.warn(f"games run at the engine's normal, much lower speed: {problem}", RuntimeWarning, stacklevel=2)
        return []
    _patch_text(import_module("textworld.envs.pddl.textgen"))
    _patch_logic(import_module("textworld.logic"), import_module("textworld.envs.pddl.logic"))
    derivation.patch(import_module("textworld.envs.pddl.logic"), import_module("textworld.envs.pddl.pddl"))
    _patch_translation(import_module("fast_downward"), planner)
    _done.extend(f"{module}.{name}" for module, names in REPLACED.items() for name in names)
    return list(_done)


def mismatch() -> str:
    """Why the installed engine is not the one these replacements were made for; empty when it is."""
    found = import_module("textworld.version").__version__
    if found != TEXTWORLD_VERSION:
        return f"textworld {found} is installed, the faster path is for {TEXTWORLD_VERSION}"
    for name, attributes in REPLACED.items():
        module = import_module(name)
        for attribute in attributes:
            try:
                functools.reduce(getattr, attribute.split("."), module)
            except AttributeError:
                return f"{name} has no {attribute}"
    return ""


def _clone(symbol: Any) -> Any:
    """A copy that may be given its own context, which is all a derivation writes to."""
    new = object.__new__(type(symbol))
    new.__dict__.update(symbol.__dict__)
    inner = new.__dict__.get("symbol")
    if inner is not None and not isinstance(inner, str):
        new.symbol = _clone(inner)
    return new


class Context(TypedDict):
    """What textworld keeps of a derivation, as far as it is read here: the game's state, and what names stand for."""

    state: Any
    variables: dict[str, object]
    mapping: dict[Any, Any]


def _shallow_context(context: Context) -> Context:
    new = context.copy()
    new["variables"] = dict(context["variables"])
    new["mapping"] = dict(context["mapping"])
    return new


@functools.lru_cache(maxsize=FRAGMENTS_KEPT)
def _compiled(expression: str) -> Any:
    return compile(expression.lstrip(" \t"), "<grammar>", "eval")


def _patch_text(textgen: Any) -> None:
    parse = textgen._parse_and_convert
    remembered = functools.lru_cache(maxsize=FRAGMENTS_KEPT)(lambda text, rule_name: parse(text, rule_name=rule_name))

    def parse_fragment(text: str, rule_name: str, trace: bool = False) -> list[Any]:
        symbols = parse(text, rule_name=rule_name, trace=True) if trace else remembered(text, rule_name)
        return [_clone(symbol) for symbol in symbols]

    def copy_symbol(self: Any, context: Context) -> Any:
        new = _clone(self)
        new.context = _shallow_context(context)
        return new

    def derive_expression(self: Any, context: Context | None = None) -> list[Any]:
        context = context or self.context
        names = {**context["variables"], "self": self, "context": context}
        code = _compiled(self.expression)
        derivation.memory_of(context["state"]).read_names.update(code.co_names)
        return [textgen.TerminalSymbol(eval(code, textgen.__dict__, names))]

    def replace(self: Any, start: Any) -> list[Any]:
        rules = self._rules.get(str(start))
        if not rules:
            raise textgen.CSGUnknownSymbolError(start)
        rule = next((rule for rule in rules if _applies(textgen.Rule, rule.condition, start.context)), None)
        if rule is None:
            raise IndexError(f"no rule of {start} applies")
        return [copy_symbol(symbol, start.context) for symbol in rule.rhs]

    textgen._parse_and_convert = parse_fragment
    textgen.copy_context = _shallow_context
    textgen.Symbol.copy = copy_symbol
    textgen.EvalSymbol.derive = derive_expression
    textgen.ContextSensitiveGrammar.replace = replace


def _applies(rule_class: Any, condition: str, context: Context) -> bool:
    if not condition:
        return True
    query = rule_class.parse_conjunctive_query(condition)
    return next(iter(context["state"].all_assignments(query, context["mapping"])), None) is not None


def _patch_logic(logic: Any, pddl_logic: Any) -> None:
    parse_query = logic.Rule.parse_conjunctive_query
    logic.Rule.parse_conjunctive_query = staticmethod(functools.lru_cache(maxsize=FRAGMENTS_KEPT)(parse_query))
    pddl_logic._parse_and_convert = _task_free_parser(pddl_logic)


def _task_free_parser(pddl_logic: Any) -> Callable[[str, str], tuple[object, Any]]:
    """Games share their grammar but for the task line: parse the rest once, and put the line in."""
    textgen = import_module("textworld.envs.pddl.textgen")
    parse = functools.lru_cache(maxsize=GRAMMARS_KEPT)(pddl_logic._parse_and_convert)

    def parse_grammar(text: str, rule_name: str) -> tuple[object, Any]:
        lines = TASK_LINE.findall(text)
        if len(lines) != 1:
            return parse(text, rule_name=rule_name)
        actions, grammar = parse(TASK_LINE.sub(STAND_IN, text), rule_name=rule_name)
        own = textgen.ContextSensitiveGrammar()
        for name, rules in grammar._rules.items():
            own._rules[name] = [_with_task(textgen, rule, lines[0]) for rule in rules]
        return actions, own

    return parse_grammar


def _with_task(textgen: Any, rule: Any, line: str) -> Any:
    if len(rule.rhs) != 1 or rule.rhs[0].symbol != STAND_IN:
        return rule
    rhs = textgen._parse_and_convert(line, rule_name="symbols")
    return textgen.ProductionRule(rule.lhs, rhs, rule.weight, rule.condition)


def _patch_translation(fast_downward: Any, planner: bool) -> None:
    translate: Callable[..., tuple[Any, str]] = fast_downward.pddl2sas
    load_lib: Callable[[], Any] = fast_downward.load_lib
    instances = import_module("mementos.core")._memento_cache
    cache: OrderedDict[tuple[str, str, bool], tuple[Any, str]] = OrderedDict()

    def pddl2sas(domain: str, problem: str, verbose: bool = False, optimize: bool = False) -> tuple[Any, str]:
        if optimize and not planner:
            return None, ""
        key = (domain, problem, optimize)
        if key not in cache:
            arguments = sys.argv
            try:
                cache[key] = translate(domain, problem, verbose=verbose, optimize=optimize)
            finally:
                sys.argv = arguments
            _trim(cache, instances)
        cache.move_to_end(key)
        return cache[key]

    def load_library() -> Any:
        library = load_lib()
        if not planner:
            library.load_sas_replan = lambda sas: None
        return library

    fast_downward.pddl2sas = pddl2sas
    fast_downward.load_lib = load_library
    interface: Any = import_module("fast_downward.interface")
    interface.DOWNWARD_LIB_PATH = loadable_part(Path(interface.DOWNWARD_LIB_PATH))


def _trim(cache: OrderedDict[Any, Any], instances: dict[Any, Any]) -> None:
    """Bound what a worker keeps over thousands of games; textworld shares facts by value and never forgets one."""
    while len(cache) > TRANSLATIONS_KEPT:
        cache.popitem(last=False)
    if len(instances) > INSTANCES_KEPT:
        instances.clear()


def loadable_part(library: Path) -> str:
    """A path to the segments of a shared library that get loaded: for libdownward 1 MB of 34 MB, in memory.

    Every engine copies the library to the temporary folder; nine tenths of it are debug sections.  The path
    itself is returned where this is not a 64-bit little-endian ELF file on Linux.
    """
    with library.open("rb") as file:
        header = file.read(64)
        if len(header) < 64 or header[:6] != b"\x7fELF\x02\x01" or not hasattr(os, "memfd_create"):
            return str(library)
        table, entry_size, entries = *struct.unpack_from("<Q", header, 32), *struct.unpack_from("<HH", header, 54)
        file.seek(table)
        segments = [struct.unpack_from("<IIQQQQ", file.read(entry_size)) for _ in range(entries)]
        end = max(offset + in_file for kind, _, offset, _, _, in_file in segments if kind == ELF_LOAD)
        file.seek(0)
        memory = os.memfd_create("libdownward", 0)
        os.write(memory, file.read(end))
    return f"/proc/self/fd/{memory}"
