"""Personalised reward models from a few preference votes: SynthesizeMe replicated (ACL 2025)."""

from __future__ import annotations

__version__ = "0.1.0"
