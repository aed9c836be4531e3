"""The authors' package in an environment of its own, over the dependencies that are here already."""

from __future__ import annotations

from pathlib import Path

from support.environments import environment_with

PINS = ("SynthesizeMe==0.0.11a1", "dspy==2.6.27")
"""dspy 2.6.12 and 3.x do not work with the package: it patches classes that are not there."""


def package_python() -> Path:
    """Interpreter of the environment. Skips where the package index cannot be reached."""
    return environment_with("parity", *PINS)
