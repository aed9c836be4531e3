"""Personalised reward models from a few preference votes: SynthesizeMe replicated (ACL 2025).

The names of the library are imported when they are asked for: the workflow's jobs need none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from personalrm import datasets as datasets
    from personalrm.app.library.base import DefaultJudge as DefaultJudge
    from personalrm.app.library.base import PersonalRM as PersonalRM
    from personalrm.app.library.data import VoteDict as VoteDict
    from personalrm.app.library.reward_model import RewardModel as RewardModel
    from personalrm.app.library.synthesizeme import SynthesizeMe as SynthesizeMe
    from personalrm.app.library.taste import TasteModel as TasteModel

__version__ = "0.2.0"
# Without `datasets`, which would hide Hugging Face's after `from personalrm import *`.
__all__ = ["DefaultJudge", "PersonalRM", "RewardModel", "SynthesizeMe", "TasteModel", "VoteDict", "__version__"]
_LAZY = {
    "DefaultJudge": "personalrm.app.library.base",
    "PersonalRM": "personalrm.app.library.base",
    "RewardModel": "personalrm.app.library.reward_model",
    "SynthesizeMe": "personalrm.app.library.synthesizeme",
    "TasteModel": "personalrm.app.library.taste",
    "VoteDict": "personalrm.app.library.data",
}


def __getattr__(name: str) -> object:
    import importlib

    if name == "datasets":
        return importlib.import_module("personalrm.datasets")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, "datasets"})
