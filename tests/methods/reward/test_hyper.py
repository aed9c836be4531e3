"""Hyper-parameters as configs give them, on machines without torch."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest

from personalrm.core.errors import ConfigError
from personalrm.methods.reward.hyper import (
    HYPER,
    FrozenBTHyper,
    GPOHyper,
    GPOPairsHyper,
    LoReHyper,
    UserMAPHyper,
    read_hyper,
)


def test_published_settings_are_the_defaults() -> None:
    for name, kind in HYPER.items():
        assert read_hyper(name, {}) == kind()
    assert read_hyper("gpo", {}) == GPOHyper(points="items", lr=3e-4, layers=6, users=32)
    assert read_hyper("gpo_pairs", {}) == GPOPairsHyper(points="pairs")


def test_given_settings_are_read_at_any_depth() -> None:
    assert read_hyper("lore", {"k_grid": [1, 4], "lr": 1}) == LoReHyper(k_grid=(1, 4), lr=1.0)
    own = read_hyper("user_map", {"shared": {"l2": 0.5}, "penalties": [1, math.inf]})
    assert own == UserMAPHyper(shared=FrozenBTHyper(l2=0.5), penalties=(1.0, math.inf))


@pytest.mark.parametrize(
    ("name", "given", "why"),
    [
        ("vpl", {"latents": 3}, r"latents: unknown hyper-parameter; known: latent, hidden"),
        ("vpl", {"latent": "many"}, r"latent: "),
        ("pal_a", {"kind": "round"}, r"kind: "),
        ("user_map", {"shared": {"l2": "x"}}, r"shared\.l2: "),
    ],
)
def test_wrong_settings_are_named(name: str, given: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read_hyper(name, given)


def test_no_torch_is_needed_to_read_them_and_its_absence_is_explained() -> None:
    code = (
        "import sys\n"
        "import personalrm.methods.reward.hyper, personalrm.methods.registry\n"
        "from personalrm.methods.reward.load import reward_method\n"
        "assert 'torch' not in sys.modules\n"
        "import importlib.util\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name == 'torch' else found(name)\n"
        "try:\n"
        "    reward_method('vpl')\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.startswith("ConfigError reward model 'vpl': needs torch")
    assert "pip install 'personalrm[train]'" in done.stdout
