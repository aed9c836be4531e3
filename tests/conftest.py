"""Shared fixtures. Tests run from the root of a checkout; they write below pytest's temporary folders only."""

from __future__ import annotations

import sys
from pathlib import Path

# Tests share helpers (tests/support); this is the one place that makes them importable.
sys.path.insert(0, str(Path(__file__).parent))
