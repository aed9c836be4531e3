"""What needs torch, apart from the reward models themselves: encoders, checkpoints, the shared trainer.

Everything here and in `methods/reward` needs the extra `train`. Importing this package imports no torch.
"""

from __future__ import annotations

import os

# Read once, when torch loads its OpenMP runtime: threads that spin while they wait take the cores from each other on a
# busy machine.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# What deterministic matrix products need on CUDA; read when its library loads.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

WEIGHTS, CARD = "weights.safetensors", "card.json"
"""The two files of a trained model."""
