"""What a game's state remembers between commands, so that only new command texts are derived.

A derivation is a deterministic function of what it reads: the template, some bindings of the action and
some facts.  It is run again only when one of these has changed.  Facts are sorted and indexed once per change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WHOLE_CONTEXT = frozenset({"self", "context", "locals", "eval", "exec", "vars", "globals"})
"""An expression that names one of these may read every binding."""


@dataclass
class Memory:
    """One state's facts in order, its derived commands and what the running derivation has read."""

    changes: Counter[str] = field(default_factory=Counter)
    read_predicates: set[str] = field(default_factory=set)
    read_names: set[str] = field(default_factory=set)
    commands: dict[Any, tuple[str, dict[str, int]]] = field(default_factory=dict)
    readings: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    signatures: dict[Any, list[Any]] = field(default_factory=dict)
    ordered: dict[Any, tuple[int, dict[Any, list[Any]]]] = field(default_factory=dict)


def memory_of(state: Any) -> Memory:
    """The memory of a state, made at its first fact."""
    memory: Memory | None = state.__dict__.get("_remembered")
    if memory is None:
        memory = state.__dict__["_remembered"] = Memory()
    return memory


def patch(pddl_logic: Any, pddl: Any) -> None:
    """Put the remembering versions into textworld's ``PddlState`` and ``PddlEnv``."""
    state_class = pddl_logic.PddlState
    add, remove, assign = state_class.add_fact, state_class.remove_fact, state_class.all_assignments

    def add_fact(self: Any, fact: Any) -> None:
        memory_of(self).changes[fact.name] += 1
        add(self, fact)

    def remove_fact(self: Any, fact: Any) -> None:
        memory_of(self).changes[fact.name] += 1
        remove(self, fact)

    def all_assignments(self: Any, rule: Any, mapping: Any = None, *rest: Any, **named: Any) -> Any:
        _note_reads(memory_of(self), rule, mapping or {})
        bound_by_facts = {parameter for predicate in rule.preconditions for parameter in predicate.parameters}
        if rest or named or not bound_by_facts.issuperset(rule.placeholders):
            return assign(self, rule, mapping, *rest, **named)
        start = dict(mapping or {})
        return _assignments(self, rule.preconditions, start, set(start.values()))

    state_class.add_fact = add_fact
    state_class.remove_fact = remove_fact
    state_class.all_assignments = all_assignments
    pddl.PddlEnv._gather_infos = _gather_infos


def _note_reads(memory: Memory, rule: Any, mapping: Mapping[Any, Any]) -> None:
    memory.read_predicates.update(predicate.name for predicate in rule.preconditions)
    if all(placeholder in mapping for placeholder in rule.placeholders):
        memory.read_names.update(placeholder.name for placeholder in rule.placeholders)
    else:
        memory.read_names.update(WHOLE_CONTEXT)


def _assignments(state: Any, predicates: Sequence[Any], mapping: dict[Any, Any], used: set[Any]) -> Iterator[Any]:
    """Every way to satisfy ``predicates``, in the order of the sorted facts; a value is bound only once."""
    if not predicates:
        yield mapping.copy()
        return
    predicate = predicates[0]
    for fact in _facts(state, predicate, mapping):
        new = []
        for placeholder, value in zip(predicate.parameters, fact.arguments, strict=True):
            bound = mapping.get(placeholder)
            if bound is None:
                if value in used:
                    break
                mapping[placeholder] = value
                used.add(value)
                new.append(placeholder)
            elif bound is not value and bound != value:
                break
        else:
            yield from _assignments(state, predicates[1:], mapping, used)
        for placeholder in new:
            used.discard(mapping.pop(placeholder))


def _facts(state: Any, predicate: Any, mapping: Mapping[Any, Any]) -> Iterator[Any]:
    """Facts that may match: per signature in order, those with the first bound argument when there is one."""
    memory = memory_of(state)
    place, value = next(((i, mapping[p]) for i, p in enumerate(predicate.parameters) if p in mapping), (None, None))
    for signature in _signatures(state, memory, predicate.signature):
        if state._facts.get(signature):
            yield from _index(state, memory, signature, place).get(value, ())


def _signatures(state: Any, memory: Memory, signature: Any) -> list[Any]:
    """The signature and those of its subtypes."""
    if signature not in memory.signatures:
        types = state._logic.types
        make = type(signature)
        memory.signatures[signature] = [
            make(signature.name, [kind.name for kind in kinds])
            for kinds in types.multi_subtypes([types.get(name) for name in signature.types])
        ]
    return memory.signatures[signature]


def _index(state: Any, memory: Memory, signature: Any, place: int | None) -> dict[Any, list[Any]]:
    """Sorted facts of a signature by their argument at ``place``; all under ``None`` without a place."""
    changed = memory.changes[signature.name]
    known = memory.ordered.get((signature, place))
    if known and known[0] == changed:
        return known[1]
    index: dict[Any, list[Any]] = {}
    if place is None:
        index[None] = sorted(state._facts[signature], key=_order)
    else:
        for fact in _index(state, memory, signature, None)[None]:
            index.setdefault(fact.arguments[place], []).append(fact)
    memory.ordered[signature, place] = (changed, index)
    return index


def _order(fact: Any) -> list[tuple[str, str]]:
    return [(variable.name, variable.type) for variable in fact.arguments]


def _gather_infos(self: Any) -> None:
    """``PddlEnv._gather_infos`` with the facts listed once and each command derived once."""
    state, world = self.state, self._pddl_state
    facts = list(world.facts)
    state["command_templates"] = sorted({action.template for action in self._logic.actions.values()})
    state["won"] = world.check_goal()
    state["lost"] = False
    state["_entity_infos"] = dict(self._entity_infos)
    state["_facts"] = facts
    if self.request_infos.facts:
        state["facts"] = [self._get_human_readable_fact(fact) for fact in facts]
    state["last_action"] = None
    state["_last_action"] = self._last_action
    state["_valid_actions"] = world.all_applicable_actions()
    names = {key: info.name for key, info in self._entity_infos.items()}
    for action in state["_valid_actions"]:
        action.command_template = _command(self, action, facts)
    state["_valid_commands"] = [action.format_command(names) for action in state["_valid_actions"]]
    state["admissible_commands"] = sorted(set(state["_valid_commands"]))
    if self.request_infos.moves:
        state["moves"] = self._moves
    if self.request_infos.policy_commands:
        state["policy_commands"] = world.replan(self._entity_infos)


def _command(env: Any, action: Any, facts: list[Any]) -> str:
    """The action's template, derived; remembered until something it read has changed."""
    memory = memory_of(env._pddl_state)
    template = action.command_template
    values = {placeholder.name: variable for placeholder, variable in action.mapping.items()}
    for names in memory.readings.get(template, ()):
        known = memory.commands.get((template, names, tuple(values.get(name) for name in names)))
        if known and all(memory.changes[name] == count for name, count in known[1].items()):
            return known[0]
    memory.read_predicates.clear()
    memory.read_names.clear()
    context = {
        "state": env._pddl_state,
        "facts": facts,
        "variables": {name: env._entity_infos[variable.name] for name, variable in values.items()},
        "mapping": action.mapping,
        "entity_infos": env._entity_infos,
    }
    text: str = env._logic.grammar.derive(template, context)
    everything = not memory.read_names.isdisjoint(WHOLE_CONTEXT)
    names = tuple(sorted(values if everything else memory.read_names.intersection(values)))
    readings = memory.readings.setdefault(template, [])
    if names not in readings:
        readings.append(names)
    seen = {name: memory.changes[name] for name in memory.read_predicates}
    memory.commands[template, names, tuple(values.get(name) for name in names)] = (text, seen)
    return text
