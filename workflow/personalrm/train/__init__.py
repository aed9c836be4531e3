"""What needs torch, apart from the reward models themselves: encoders, checkpoints, the shared trainer.

Everything here and in `methods/reward` needs the extra `train`. Importing this package imports no torch.
"""

from __future__ import annotations

import functools
import os

from personalrm.core.errors import ConfigError

# Read once, when torch loads its OpenMP runtime: threads that spin while they wait take the cores from each other on a
# busy machine.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# What deterministic matrix products need on CUDA; read when its library loads.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# TRL tells its makers of each training otherwise.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

WEIGHTS, CARD = "weights.safetensors", "card.json"
"""The two files of a trained model."""


@functools.cache
def one_gpu(device: str) -> str:
    """Leave one graphics processor visible, before torch looks, and return its name: TRL refuses several.

    `device` as torch names it, of those that are visible when a process first asks; `cpu` changes nothing. Raises
    ConfigError where the environment hides it.
    """
    kind, _, index = device.partition(":")
    if kind == "cuda":
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        visible = None if given is None else [one for one in given.split(",") if one]
        place = int(index or 0)
        if visible is not None and place >= len(visible):
            raise ConfigError(f"device {device!r}: CUDA_VISIBLE_DEVICES shows {len(visible)} devices ({given!r})")
        os.environ["CUDA_VISIBLE_DEVICES"] = str(place) if visible is None else visible[place]
    return kind
