"""Connections of the retriever's server: how many, how long a request may take to arrive, and what is logged of them.

uvicorn waits for the rest of a request for as long as its client likes.  Here it has ``ARRIVAL`` seconds, and where all
places are taken a new client gets the place of the one that has been at its request the longest.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import Any

from sdar_cli.base.text import presentable

MOST_AT_ONCE = 2048
"""Connections and requests in work; what comes beyond them is a 503, which clients try again."""
RESERVED = 64
"""Open files that are left for the index and the program."""
ARRIVAL = 20.0
"""Seconds from the first moment of a connection, or of its next request, until the request has arrived whole."""


def most_connections() -> int:
    """``MOST_AT_ONCE``, or what the system's limit of open files leaves."""
    try:
        import resource
    except ImportError:  # no such limit on this platform
        return MOST_AT_ONCE
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_AT_ONCE if limit == resource.RLIM_INFINITY else max(1, min(MOST_AT_ONCE, limit - RESERVED))


def bounded_protocol(most: int, arrival: float = ARRIVAL) -> type[asyncio.Protocol]:
    """uvicorn's protocol with both limits.  most: connections; arrival: seconds of a request's arrival."""
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Bounded(H11Protocol):
        """One connection."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.began = time.monotonic()
            self.timer: asyncio.TimerHandle | None = self.loop.call_later(arrival, self.give_up)
            if len(self.connections) > most:
                waiting = [each for each in self.connections if isinstance(each, Bounded) and each.is_arriving()]
                if waiting:
                    min(waiting, key=lambda each: each.began).give_up()

        def data_received(self, data: bytes) -> None:
            if self.timer is None:  # the next request of a connection that is kept alive
                self.began = time.monotonic()
                self.timer = self.loop.call_later(arrival, self.give_up)
            super().data_received(data)
            if not self.is_arriving():
                self.stop_timer()

        def connection_lost(self, exc: Exception | None) -> None:
            self.stop_timer()
            super().connection_lost(exc)

        def is_arriving(self) -> bool:
            """Whether the request is not there as a whole."""
            return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

        def give_up(self) -> None:
            """Drop the connection, unless its request has arrived."""
            if self.is_arriving():
                self.transport.abort()

        def stop_timer(self) -> None:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None

    return Bounded


class OneLine(logging.Formatter):
    """A record as one line: no traceback, no control characters, no passwords."""

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        error = record.exc_info[1] if record.exc_info else None
        text = f"{record.levelname.lower()}: {record.getMessage()}" + (f" ({error!r})" if error else "")
        return presentable(" ".join(text.split()))


_ONE_LINE = {"handlers": ["stderr"], "level": "WARNING", "propagate": False}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": OneLine}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
    "loggers": {
        name: {"handlers": ["stderr"], "level": "WARNING", "propagate": False} for name in ("uvicorn", "asyncio")
    },
}
"""What uvicorn and asyncio have to say, a line each."""


def log(text: str) -> None:
    """A line to standard error."""
    print(presentable(" ".join(text.split())), file=sys.stderr, flush=True)
