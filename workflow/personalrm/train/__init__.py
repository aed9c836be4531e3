"""What needs torch, apart from the reward models themselves: encoders, checkpoints, the shared trainer.

Everything here and in `methods/reward` needs the extra `train`. Importing this package imports no torch.
"""

from __future__ import annotations

import importlib.util
import os

from personalrm.core.errors import ConfigError

# Read once, when torch loads its OpenMP runtime: threads that spin while they wait take the cores from each other on a
# busy machine.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# What deterministic matrix products need on CUDA; read when its library loads.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

WEIGHTS, CARD = "weights.safetensors", "card.json"
"""The two files of a trained model."""
NEEDED = ("torch", "transformers", "safetensors")


def require_extra(what: str) -> None:
    """Raises ConfigError, naming the extra to install, where a package that `what` needs is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{what}: needs {', '.join(missing)}, not installed here; pip install 'personalrm[train]' (for a build of "
            "torch without CUDA, first: pip install torch --index-url https://download.pytorch.org/whl/cpu), or in a "
            "checkout: make train"
        )
