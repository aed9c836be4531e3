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
        ("lore", {"k_grid": []}, r"k_grid: Tuple should have at least 1 item"),
        ("lore", {"k_grid": [1, 0]}, r"k_grid\.1: Input should be greater than or equal to 1"),
        ("vpl", {"steps": 0}, r"steps: Input should be greater than or equal to 1"),
        ("pal_a", {"user_lr": -1}, r"user_lr: Input should be greater than 0"),
        ("frozen_bt", {"l2": math.inf}, r"l2: Input should be a finite number"),
        ("user_map", {"penalty": math.nan}, r"penalty: Input should be greater than 0"),
        ("user_map", {"penalties": [0]}, r"penalties\.0: Input should be greater than 0"),
        ("user_map", {"folds": 1}, r"folds: Input should be greater than or equal to 2"),
        ("user_map", {"shared": {"hidden": 4}}, r"^shared\.hidden: the shared weights are linear; give 0$"),
        ("lore", {"reference": {"hidden": 4}}, r"^reference\.hidden: the reference is linear; give 0$"),
        ("gpo", {"heads": 3}, r"^width: 128 is no multiple of heads, 3$"),
        ("gpo", {"points": "pairs"}, r"^points: 'items' here; gpo and gpo_pairs are methods of their own$"),
        ("gpo_pairs", {"points": "items"}, r"^points: 'pairs' here"),
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
