"""Trained reward models: each module is one method, from features (or texts) of pairs to rewards.

Modules of this folder need the extra `train`; `load.reward_method` names it where it is missing.
"""

from __future__ import annotations

# Sets what torch reads when it is imported.
import personalrm.train  # noqa: F401
