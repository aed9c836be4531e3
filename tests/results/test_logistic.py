"""The cluster-robust logistic model against statsmodels, and beside the bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given
from hypothesis import strategies as st

from personalrm.results.stats.logistic import cluster_logistic
from personalrm.results.stats.statistics import paired_cluster_difference


def judgments(seed: int, users: int = 25) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right judgments of two methods and judgments, by user; users differ, and the first method is better."""
    rng = np.random.default_rng(seed)
    judged = rng.integers(2, 12, users)
    ease = rng.beta(4, 3, users)
    return rng.binomial(judged, np.minimum(ease + 0.1, 1)), rng.binomial(judged, ease), judged


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_logistic_model_of_statsmodels_with_clustered_errors(seed: int) -> None:
    first, second, judged = judgments(seed)
    rows = [
        (user, method, right)
        for user, counts in enumerate(zip(first, second, judged, strict=True))
        for method, hits in ((1, counts[0]), (0, counts[1]))
        for right in [1] * hits + [0] * (counts[2] - hits)
    ]
    frame = pd.DataFrame(rows, columns=["user", "method", "right"])
    groups = {"groups": frame["user"], "use_correction": True}
    fitted = smf.logit("right ~ method", frame).fit(disp=0, cov_type="cluster", cov_kwds=groups)
    found = cluster_logistic(first, second, judged)
    assert found.estimate == pytest.approx(fitted.params["method"], abs=1e-8)
    # statsmodels multiplies by (n - 1) / (n - parameters), too.
    n = len(frame)
    assert found.standard_error == pytest.approx(fitted.bse["method"] / math.sqrt((n - 1) / (n - 2)), rel=1e-8)


def test_agrees_with_the_bootstrap_where_both_apply() -> None:
    first, second, judged = judgments(7, users=200)
    bootstrap = paired_cluster_difference(first, second, judged, seed=1, n_resamples=4000)
    assert cluster_logistic(first, second, judged).p_value == pytest.approx(bootstrap.p_value, abs=0.02)


def test_no_finite_estimate_is_no_number() -> None:
    assert math.isnan(cluster_logistic([4], [2], [4]).p_value)
    assert math.isnan(cluster_logistic([4, 4], [2, 2], [4, 4]).p_value)
    assert math.isnan(cluster_logistic([0, 0], [2, 1], [4, 4]).estimate)
    equal = cluster_logistic([2, 3], [2, 3], [4, 4])
    assert (equal.estimate, equal.standard_error) == (0, 0)


@given(st.integers(0, 10_000))
def test_the_other_way_round_the_sign_changes_and_nothing_else(seed: int) -> None:
    first, second, judged = judgments(seed, users=6)
    one, other = cluster_logistic(first, second, judged), cluster_logistic(second, first, judged)
    assert one.estimate == pytest.approx(-other.estimate, nan_ok=True)
    assert one.p_value == pytest.approx(other.p_value, nan_ok=True)
    drawn = cluster_logistic(np.c_[first, first], np.c_[second, second], np.c_[judged, judged])
    assert drawn.p_value == pytest.approx(one.p_value, nan_ok=True)
