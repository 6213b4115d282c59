"""A fit finds prices that choose well, and the stored prices are those of the stored measurements."""

import json
import math
from functools import cache

import numpy as np
import pytest

from jaxconv.algorithms import choose, cost
from jaxconv.algorithms.reference import MAPS
from jaxconv.bench import fit

stored = cache(fit.evidence)  # the measurements of the repository


def test_prices_of_made_up_times_choose_what_is_fastest(monkeypatch):
    """Two algorithms, one fast at calling, one at multiplying; a tenth of noise."""
    monkeypatch.setattr(fit, "STEPS", 400)
    draw = np.random.default_rng(0)
    work = np.exp(draw.uniform(-4, 4, 120))
    terms = np.stack([np.ones_like(work), work], 1)
    times = terms @ np.array([[1.0, 1.0], [3.0, 0.2]]).T * np.exp(0.1 * draw.normal(size=(120, 2)))
    made = terms @ fit.fit(terms, times).T
    picked = np.take_along_axis(times, made.argmin(1)[:, None], 1)[:, 0]
    assert np.log(picked / times.min(1)).mean() < 0.02
    assert abs(np.log(made / times)).mean() < 0.2


def test_an_algorithm_that_does_not_serve_is_not_compared(monkeypatch):
    monkeypatch.setattr(fit, "STEPS", 200)
    times = np.array([[1.0, math.nan], [2.0, 1.0], [4.0, math.nan], [1.0, 0.5]])
    prices = fit.fit(np.ones((4, 1)), times)
    assert np.isfinite(prices).all()
    assert prices[1, 0] < prices[0, 0]


@pytest.mark.slow
def test_every_algorithm_that_is_estimated_was_measured():
    measured = {(r.problem.which, r.problem.geometry.layout, name) for r in stored() for name in r.seconds}
    for which, layouts in cost.prices().items():
        for layout, fitted in layouts.items():
            assert {(which, layout, name) for name in fitted} <= measured
            assert {term for each in fitted.values() for term in each["price"]} <= set(cost.terms(stored()[0].problem))


@pytest.mark.slow
def test_the_stored_prices_are_those_of_the_stored_measurements():
    """Nobody has written a price by hand: estimates of the stored prices and of a new fit are the same."""
    every = stored()
    for which in MAPS:
        for layout in ("channels_first", "channels_last"):
            of = fit.calls(every, which, layout)
            made = of.terms @ fit.fit(of.terms, of.seconds).T
            told = np.array([[cost.seconds(r.problem)[name] for name in of.names] for r in of.records])
            assert abs(np.log(made / told)).max() < 0.05, json.dumps([which, layout])


def test_the_stored_factors_are_those_of_the_stored_measurements():
    every = fit.evidence([fit.STORED / "dtypes.json"])
    for which, layouts in cost.prices().items():
        for layout, fitted in layouts.items():
            for name, each in fitted.items():
                assert each["factor"] == fit.factors(every, name, which, layout)
                assert set(each["factor"]) == {"bfloat16", "float64"}


@pytest.mark.slow
def test_what_is_chosen_was_measured():
    """A choice that nobody measured is a guess, which no regret counts: an algorithm that serves more is measured."""
    single = [record for record in stored() if record.problem.dtype == "float32"]
    chosen = [(choose.choose(record.problem), record) for record in single]
    assert [record.names for name, record in chosen if name not in {**record.seconds, **record.failed}] == []
