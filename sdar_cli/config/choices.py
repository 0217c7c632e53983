"""Closed sets of names that the configuration and the command line both offer.  Imports nothing: help is quick."""

from __future__ import annotations

from typing import Literal

PLACEMENTS = Literal["user", "system", "prefix"]
FORMS = Literal["full", "brief"]
WORDINGS = Literal["compact", "full"]
