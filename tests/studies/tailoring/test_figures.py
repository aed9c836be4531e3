"""Figures of several data sets and judges can be read: headings have room, however long the names of models are."""

from __future__ import annotations

import itertools
import math

import pandas as pd
import pytest
from support.comparison_cases import assert_readable

from personalrm.core.persona_pairs import SIDES
from personalrm.studies.tailoring.results.persona_accuracy_figure import accuracy_figure
from personalrm.studies.tailoring.results.persona_saliency_figure import saliency_figure
from personalrm.studies.tailoring.results.tailoring_figure import tailoring_figure
from personalrm.studies.tailoring.results.tailoring_table import BOTH, PQ

DATASETS = ("beavertails", "hhh")
LONG = "llama-3.1-405b-instruct-turbo-at-our-own-server"


@pytest.mark.parametrize("judge", ["gpt-4o", "qwen2.5-coder-1.5b", LONG])
def test_accuracy(judge: str) -> None:
    rows = [
        (dataset, judge, "logprob", "gpt-4o", side, 58.75, 46.7, 70.0, math.nan)
        for dataset, side in itertools.product(DATASETS, SIDES)
    ]
    names = ["dataset", "judge", "verdict", "model", "side", "accuracy", "ci_low", "ci_high", "reported"]
    assert_readable(accuracy_figure(pd.DataFrame(rows, columns=names), title_note="run x"))


@pytest.mark.parametrize("judge", ["gpt-4o", "qwen2.5-coder-1.5b", LONG])
def test_comparisons(judge: str) -> None:
    rows = [
        (dataset, "pt-retr-chosen", "dpo", judge, "logprob", rubric, -20.0, -40.0, 10.0)
        for dataset, rubric in itertools.product(DATASETS, (*PQ, BOTH))
    ]
    names = ["dataset", "test", "base", "judge", "verdict", "rubric", "difference", "ci_low", "ci_high"]
    assert_readable(tailoring_figure(pd.DataFrame(rows, columns=names), title_note="run x"))


@pytest.mark.parametrize("model", ["released", LONG])
def test_words(model: str) -> None:
    rows = [
        (dataset, model, contrast, side, f"embellishments{number}", 80.0, 60.0, 100.0)
        for dataset, contrast, side, number in itertools.product(DATASETS, ("whole_words",), SIDES, range(3))
    ]
    names = ["dataset", "model", "contrast", "side", "word", "share", "ci_low", "ci_high"]
    assert_readable(saliency_figure(pd.DataFrame(rows, columns=names), title_note="run x"))
