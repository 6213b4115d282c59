"""The prices of `jaxconv.algorithms.cost`, fitted to the measurements in `evidence/`, and judged on models left out.

    python -m jaxconv.bench.fit            print how well the fit chooses, and what each algorithm is worth
    python -m jaxconv.bench.fit --write    write jaxconv/algorithms/coefficients.json, too

An algorithm's estimate is t̂ = Σ_j price_j · term_j. For one map and layout the prices of all algorithms a are those
that make

    mean over calls of Σ_a p_a · min(log(t_a / least t), WORST)  +  FAITHFUL · mean of (log t̂_a − log t_a)²
    p = softmax(−log t̂ / TIE)

least: the first is the regret of a choice that takes nearly equal estimates by turns, the second keeps an estimate a
time. Gradient descent starts with the second alone, and the first joins at half of its steps.

`jaxconv tune --file LAYERS --output FILE` makes such measurements, and those of another machine give its own prices.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxconv.algorithms import cost
from jaxconv.algorithms.measured import records
from jaxconv.algorithms.reference import MAPS
from jaxconv.sizes.arithmetic import LAYOUTS
from jaxconv.terminal.output import write_whole

# Tried on models left out, from 0.03 to 0.3, 0.1 to 0.4 and 400 to 4000: the regret hardly moves.
FAITHFUL = 0.1
TIE = 0.15  # of the logarithm of a time: estimates so near each other count as equal
STEPS = 1500  # of gradient descent
WORST = 1.5  # of the logarithm of a regret: what is 4.5 times as long or more is as bad
FOLDS = 10  # groups of models, each left out once
FEWEST = 8  # measurements of an algorithm that prices are made from
APART = ("onednn", "reference", "blocks")  # chosen by wisdom or by name; "blocks" also over several devices
STORED = Path(str(files("jaxconv.bench").joinpath("evidence")))


def evidence(paths: Sequence[Path] | None = None) -> list[records.Record]:
    """The measurements of these files, of whatever machine; without any, those of float32 beside this module."""
    found = paths or sorted(STORED.glob("times*.json"))
    return [record for path in found for record in records.read(path, anywhere=True).values()]


class Calls(NamedTuple):
    """The float32 measurements of one map in one layout.

    Attributes:
        records: of every call.
        names: of the algorithms.
        terms: (calls, terms), each term divided by its mean.
        scale: these means.
        seconds: (calls, algorithms), NaN where an algorithm does not serve.
    """

    records: list[records.Record]
    names: list[str]
    terms: np.ndarray
    scale: np.ndarray
    seconds: np.ndarray


def calls(every: Sequence[records.Record], which: str, layout: str) -> Calls:
    """Those of this map and layout."""
    facts = which, layout, "float32"
    here = [r for r in every if (r.problem.which, r.problem.geometry.layout, r.problem.dtype) == facts]
    here = [r for r in here if set(r.seconds) - set(APART)]
    counts = {name: sum(name in r.seconds for r in here) for r in here for name in r.seconds}
    names = sorted(name for name, count in counts.items() if count >= FEWEST and name not in APART)
    terms = np.array([list(cost.terms(r.problem).values()) for r in here])
    scale = terms.mean(0) + 1e-12
    seconds = np.array([[r.seconds.get(name, math.nan) for name in names] for r in here])
    return Calls(here, names, terms / scale, scale, seconds)


def fit(terms: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Prices (algorithms, terms)."""
    there = ~np.isnan(seconds)
    return np.exp(_descend(jnp.array(terms), jnp.log(jnp.where(there, seconds, 1.0)), jnp.array(there)))


@jax.jit
def _descend(terms: Array, logs: Array, there: Array) -> Array:
    """Logarithms of the prices, by Adam (D. P. Kingma and J. Ba 2015): times first, then the choice, too."""
    least = jnp.min(jnp.where(there, logs, jnp.inf), 1, keepdims=True)
    regret = jnp.where(there, jnp.minimum(logs - least, WORST), 0.0)
    mean = jnp.where(there, logs, 0.0).sum(0) / jnp.maximum(there.sum(0), 1)
    begin = jnp.broadcast_to(mean[:, None] - jnp.log(terms.shape[1]), (len(mean), terms.shape[1]))

    def loss(prices: Array, choosing: Array) -> Array:
        made = jnp.log(terms @ jnp.exp(prices).T + 1e-12)
        share = jax.nn.softmax(jnp.where(there, -made / TIE, -jnp.inf), 1)
        wrong = jnp.where(there, jnp.square(made - logs), 0.0).sum() / there.sum()
        return choosing * (share * regret).sum(1).mean() + FAITHFUL * wrong

    def step(state: tuple[Array, Array, Array], i: Array) -> tuple[tuple[Array, Array, Array], None]:
        prices, first, second = state
        slope = jax.grad(loss)(prices, jnp.where(i > STEPS / 2, 1.0, 0.0))
        first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope**2
        size = 0.05 * jnp.minimum(1.0, 2 - 2 * i / STEPS)
        moved = first / (1 - 0.9 ** (i + 1)) / (jnp.sqrt(second / (1 - 0.99 ** (i + 1))) + 1e-6)
        return (prices - size * moved, first, second), None

    zeros = jnp.zeros_like(begin)
    return jax.lax.scan(step, (begin, zeros, zeros), jnp.arange(STEPS, dtype=terms.dtype))[0][0]


def left_out(of: Calls) -> np.ndarray:
    """Regret of every call by prices that were fitted without any model that has it."""
    models = sorted({_models(r)[0] for r in of.records})
    random.Random(0).shuffle(models)
    regret = np.ones(len(of.records))
    least = np.nanmin(of.seconds, 1)
    for fold in range(FOLDS):
        without = set(models[fold::FOLDS])
        test = np.array([bool(without & {_models(r)[0]}) for r in of.records])
        train = ~test & np.array([not without & set(_models(r)) for r in of.records])
        if not test.any():
            continue
        made = of.terms[test] @ fit(of.terms[train], of.seconds[train]).T
        pick = np.where(np.isnan(of.seconds[test]), np.inf, made).argmin(1)
        regret[test] = of.seconds[test][np.arange(test.sum()), pick] / least[test]
    return regret


def _models(record: records.Record) -> list[str]:
    return [name.partition(":")[0] for name in record.names]


def worth(of: Calls) -> list[tuple[str, int, float]]:
    """Of every algorithm: calls that it is fastest for, and how many times as long the best of the others takes."""
    rows = []
    best = np.nanargmin(of.seconds, 1)
    for j, name in enumerate(of.names):
        served = of.seconds[(best == j) & ((~np.isnan(of.seconds)).sum(1) > 1)]
        others = np.nanmin(np.delete(served, j, 1), 1) if len(served) else np.array([])
        rows.append(
            (name, len(served), float(np.exp(np.log(others / served[:, j]).mean())) if len(served) else math.nan)
        )
    return rows


def factors(every: Sequence[records.Record], name: str, which: str, layout: str) -> dict[str, float]:
    """dtype → how many times as long as float32 this algorithm took of the same problem, in geometric mean.

    `every`: of one machine.
    """
    seconds = {r.problem: r.seconds[name] for r in every if name in r.seconds}
    ratios: dict[str, list[float]] = {}
    for problem, time in seconds.items():
        single = seconds.get(problem._replace(dtype="float32"))
        if (problem.which, problem.geometry.layout) == (which, layout) and problem.dtype != "float32" and single:
            ratios.setdefault(problem.dtype, []).append(time / single)
    return {dtype: _short(np.exp(np.log(each).mean())) for dtype, each in ratios.items()}


def priced(of: Calls, dtypes: Sequence[records.Record], which: str, layout: str) -> dict[str, dict[str, Any]]:
    """What coefficients.json holds of one map and layout: by algorithm its price for each term, its dtypes' factors."""
    terms = list(cost.terms(of.records[0].problem))
    return {
        name: {
            "factor": factors(dtypes, name, which, layout),
            "price": dict(zip(terms, map(_short, prices), strict=True)),
        }
        for name, prices in zip(of.names, fit(of.terms, of.seconds) / of.scale, strict=True)
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command of the module docstring."""
    parser = argparse.ArgumentParser(prog="python -m jaxconv.bench.fit", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--evidence", type=Path, nargs="+", help="files of `jaxconv tune --output`; else the stored ones"
    )
    parser.add_argument("--write", action="store_true", help="write coefficients.json")
    options = parser.parse_args(arguments)
    every = evidence(options.evidence)
    dtypes = every if options.evidence else evidence([STORED / "dtypes.json"])
    prices: dict[str, dict] = {}
    print("| map | layout | calls | regret: mean | 95 of 100 | worst | fastest, and times the best other's time |")
    print("|---|---|---|---|---|---|---|")
    for which in MAPS:
        for layout in LAYOUTS:
            of = calls(every, which, layout)
            regret = left_out(of)
            shares = ", ".join(f"{name} {count}, {times:.2f}" for name, count, times in worth(of))
            figures = f"{np.exp(np.log(regret).mean()):.3f} | {np.quantile(regret, 0.95):.2f} | {regret.max():.1f}"
            print(f"| {which} | {layout} | {len(regret)} | {figures} | {shares} |", flush=True)
            prices.setdefault(which, {})[layout] = priced(of, dtypes, which, layout)
    if options.write:
        write_whole(
            Path(str(files("jaxconv.algorithms").joinpath("coefficients.json"))), json.dumps(prices, indent=1) + "\n"
        )


def _short(value: float) -> float:
    """With three digits."""
    return float(f"{value:.3g}")


if __name__ == "__main__":
    main()
