"""Hostile inputs: bytes of a good file with faults in them, and JSON with values of other kinds in it."""

from __future__ import annotations

import copy
import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import hypothesis
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from sdar_cli.base.errors import SdarError, place_error

QUICK = 50
"""Inputs per parser of the quick tests."""
MANY = int(os.environ.get("SDAR_FAULTS_INPUTS", "2000"))
"""Inputs per parser of the slow tests."""
SEED = int(os.environ.get("SDAR_FAULTS_SEED", "0"))
"""Other seeds give the slow tests other inputs."""
PIECES = (
    b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x1b[2J", b"\\ud800", b'"', b"'", b"\n", b"\r", b"\t", b"=",
    b"{", b"}", b"[", b"]", b"[" * 5000, b'{"a":' * 3000, b"9" * 5000, b"1e999", b"-1e999", b"NaN", b"nan", b"inf",
    b"null", b"true", b"-1", b"0", b"1.5", b"[]", b"{}", b'""', b"+++", b"+++\n", b"<action>", b"</action>", b"../..",
    "\u2028".encode(), "\u202e".encode(), "é".encode(), b"a." * 100, b"\nextends = 3\n", b"\n[env]\n", b"[[env]]",
)  # fmt: skip
"""What is written into a good file."""
texts = st.one_of(st.text(max_size=20), st.sampled_from(["\ud800", "\0", "none", "x" * 5000, "1e999", "\x1b[2J"]))
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from([10**400, -(2**63), 2**64]), st.floats(), texts
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
"""Any JSON value, NaN, infinities and halves of characters among them."""


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """A good file with one to four faults: a piece written in, bytes removed, a bit flipped, the rest cut off."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(["write", "write", "over", "remove", "flip", "cut"]))
        if kind in ("write", "over"):
            piece = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=6)))
            data[at : at + (len(piece) if kind == "over" else 0)] = piece
        elif kind == "remove":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[at:]
    return bytes(data)


@st.composite
def mistyped(draw: st.DrawFn, good: Any) -> Any:
    """A good JSON value of which one to three places are gone or hold another value, or an object has one key more."""
    value = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 3))):
        holder, key = draw(st.sampled_from(list(_places(value)) or [([value], 0)]))
        what = draw(st.sampled_from(["put", "put", "put", "drop", "add"]))
        if what == "drop" and isinstance(holder, dict):
            holder.pop(key, None)
        elif what == "add" and isinstance(holder, dict):
            holder[draw(texts)] = draw(values)
        else:
            holder[key] = draw(values)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(holder, key or position) of every value inside a JSON value; of a list the first three."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, each in list(inner):
        yield value, key
        yield from _places(each)


def as_json(value: Any) -> bytes:
    """JSON as a careless writer leaves it: NaN and infinities are written, halves of characters escaped."""
    return json.dumps(value).encode()


def json_files(good: Any) -> st.SearchStrategy[bytes]:
    """Files of one JSON value: faults in its bytes, or values of other kinds."""
    return st.one_of(damaged(as_json(good)), mistyped(good).map(as_json))


def json_lines(good: list[Any]) -> st.SearchStrategy[bytes]:
    """Files of JSON lines with both sorts of faults."""
    lines = mistyped(good).map(lambda rows: b"".join(as_json(row) + b"\n" for row in _rows(rows)))
    return st.one_of(damaged(b"".join(as_json(row) + b"\n" for row in good)), lines)


def _rows(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def fuzz(inputs: st.SearchStrategy[Any], check: Callable[[Any], None], number: int, seed: int | None = None) -> int:
    """Run a check on many inputs; how many there were.  A documented error is right, any other exception fails.

    seed: None for the same inputs every time.
    """
    ran = 0

    def one(value: Any) -> None:
        nonlocal ran
        ran += 1
        try:
            check(value)
        except SdarError as error:
            assert error.render().startswith("error: ")
        except OSError as error:  # a name that is too long: commands show it with its path
            assert error.errno == errno.ENAMETOOLONG and "cannot be used" in place_error(error).what

    settings = hypothesis.settings(
        max_examples=number, derandomize=seed is None, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    test = settings(given(inputs)(one))
    (test if seed is None else hypothesis.seed(seed)(test))()
    return ran
