"""Optional packages: which extra of this package installs them, and the error where one is missing."""

from __future__ import annotations

import importlib.util

from personalrm.core.errors import ConfigError

EXTRAS: dict[str, tuple[str, ...]] = {
    "workflow": ("snakemake", "rich", "matplotlib", "seaborn"),
    "data": ("pandas", "pyarrow", "datasets", "huggingface_hub"),
    "embedded": ("xllamacpp",),
    "litellm": ("litellm",),
    "theta": ("dspy", "optuna"),
    "train": ("torch", "transformers", "safetensors", "trl", "peft", "accelerate"),
}
"""Extras, and the modules by which they are known to be installed."""
_HINTS = {
    "train": " (for a build of torch without CUDA, first: pip install torch --index-url "
    "https://download.pytorch.org/whl/cpu), or in a checkout: make train"
}


def require_extra(extra: str, what: str, *modules: str) -> None:
    """Raises ConfigError where `modules`, or any of the extra's, are missing; `what` needs them."""
    missing = [name for name in modules or EXTRAS[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"{what}: {needs(missing, extra)}")


def needs(missing: list[str], extra: str) -> str:
    """That packages are not installed, and how to install them."""
    command = f"pip install 'personalrm[{extra}]'"
    return f"needs {', '.join(missing)}, not installed here; {command}{_HINTS.get(extra, '')}"


def explained(error: ModuleNotFoundError) -> str:
    """One line for a missing module of an extra; empty for other modules."""
    missing = (error.name or "").partition(".")[0]
    return next((needs([missing], extra) for extra, modules in EXTRAS.items() if missing in modules), "")
