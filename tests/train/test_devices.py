"""Which graphics processor a job leaves visible; no torch is asked."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from personalrm.core.errors import ConfigError
from personalrm.train import one_gpu


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # As set, so that what the function sets is undone, too.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    one_gpu.cache_clear()
    yield
    one_gpu.cache_clear()


@pytest.mark.parametrize(
    ("given", "device", "left"),
    [(None, "cuda", "0"), (None, "cuda:1", "1"), ("4,7", "cuda", "4"), ("4,7", "cuda:1", "7"), ("4,7", "cpu", "4,7")],
)
def test_a_job_of_several_models_leaves_the_same_device_each_time(
    given: str | None, device: str, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert [one_gpu(device), one_gpu(device)] == [device.partition(":")[0]] * 2
    assert os.environ["CUDA_VISIBLE_DEVICES"] == left


@pytest.mark.parametrize(("given", "device"), [("", "cuda"), ("4", "cuda:1")])
def test_a_device_that_is_hidden_is_not_taken(given: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    with pytest.raises(ConfigError, match=f"device '{device}': CUDA_VISIBLE_DEVICES shows [01] devices"):
        one_gpu(device)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == given
