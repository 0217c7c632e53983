"""Where the checkout lies, and the folder of real data that some tests compare with."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SDAR_SHARED") or ROOT.parent / "shared")
"""Real data and golden files; tests that need it are skipped where it is absent."""
