"""Calibration of the statistics: studies simulated as ranks and judged as real ones are, against a known truth.

One study has USERS users, a better side, four worse ones (a family of four claims) and a number of seeds. Side k of
the run with seed s gives item e of user u the score and the rank

    z[s,k,u,e] = LEVEL + effect_k + quality_u + ease_ue + fit_ku + run_s + run_sk + chance_skue
    rank = ceil(20 exp(-SPREAD z)), cut to 1 .. ITEMS              so that the item is in the top 20 where z >= 0

with independent normal terms of the variances in VARIANCES:

    quality, ease   how easy a user, an item is         drawn with the users; the same for all sides and seeds
    fit             whom a side suits                   drawn with the users; the same for all seeds
    run             what a seed does to both sides alike (why scores are paired), and to one of them
    chance          the rest

The truth is a closed form, as every sum of normal terms is normal: these users' recall is the mean of
Phi((LEVEL + effect + quality + ease + fit) / sd(run, chance)), new users' is Phi((LEVEL + effect) / sd(everything)).
The first is what a verdict's interval is about, the second what the crossed interval is about.

Three scenarios: `null` (the sides are exchangeable), `planted` (the better side has an effect, and suits some users
more than others), `these-users` (no effect on new users; on the users drawn, whatever `fit` happened to do).
"""

import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ablations.outcomes import Comparison, compare
from ablations.verdicts import RULES, holm, judge
from tmfun import metrics
from tmfun.errors import InputError
from tmfun.streams import numpy_stream

SCHEMA = 1
SEED = 20230723  # fixed before the first study was simulated
# Variances and effects were set afterwards, on trials of some 100 studies, so that power is neither 0 nor 1.
STUDIES = 2000  # per scenario and number of seeds
SEEDS = (3, 6, 8, 10)
FAMILY = 4
METRIC = "recall@20"
SMALLEST = 0.01
WORDS = ("supported", "contradicted")

USERS, ITEMS = 200, 7000
ITEM_USERS = np.repeat(np.arange(USERS), 1 + np.arange(USERS) % 3)  # the user of each held-out item: 1 to 3 per user
LEVEL, SPREAD = -1.0, 3.0
VARIANCES = {"quality": 0.3, "ease": 0.58, "run": 0.002, "run of a side": 0.0005, "chance": 0.12}
FIT = 0.1  # the variance of `fit`, where there is any
BATCH = 50  # studies simulated at once


@dataclass(frozen=True)
class Scenario:
    """What is true: the better side's effect on the scores z, and the variance of `fit`."""

    effect: float
    fit: float


SCENARIOS = {"null": Scenario(0, 0), "planted": Scenario(0.07, FIT), "these-users": Scenario(0, FIT)}


@dataclass(frozen=True)
class Truth:
    """The better side's true recall minus the first worse side's: on these users, and on new ones."""

    these_users: float
    new_users: float
    relative: float  # on these users, as a share of the worse side's


def simulate(scenario: Scenario, seeds: int, stream: np.random.Generator, studies: int) -> Iterator[tuple[Any, Truth]]:
    """Simulated studies: recall per user by [side][seed], (USERS,) each, and the truth."""
    entries, sides = len(ITEM_USERS), 1 + FAMILY

    def draw(variance: float, *shape: int) -> NDArray[np.float64]:
        return np.sqrt(variance) * stream.standard_normal((studies, *shape))

    per_user = draw(VARIANCES["quality"], 1, 1, USERS) + draw(scenario.fit, 1, sides, USERS)
    fixed = LEVEL + per_user[..., ITEM_USERS] + draw(VARIANCES["ease"], 1, 1, entries)  # (studies, 1, sides, entries)
    fixed[:, :, 0] += scenario.effect
    runs = draw(VARIANCES["run"], seeds, 1, 1) + draw(VARIANCES["run of a side"], seeds, sides, 1)
    z = fixed + runs + draw(VARIANCES["chance"], seeds, sides, entries)
    ranks = np.clip(np.ceil(20 * np.exp(-SPREAD * z)), 1, ITEMS).astype(np.int32)

    # one user of one run of one study is one user to the metric
    count = studies * seeds * sides
    users = (np.arange(count)[:, None] * USERS + ITEM_USERS).ravel()
    recall = metrics.per_user(METRIC, ranks.ravel(), users).reshape(studies, seeds, sides, USERS)

    random = sum(VARIANCES[term] for term in ("run", "run of a side", "chance"))
    everything = sum(VARIANCES.values()) + scenario.fit
    expected = stats.norm.cdf(fixed[:, 0, :2] / np.sqrt(random))  # (studies, 2, entries)
    weights = 1 / (USERS * np.bincount(ITEM_USERS)[ITEM_USERS])  # the mean over a user's items, then over users
    better, worse = expected[:, 0] @ weights, expected[:, 1] @ weights
    new = np.diff(stats.norm.cdf((LEVEL + np.array([0.0, scenario.effect])) / np.sqrt(everything)))[0]
    for study in range(studies):
        by_side = [dict(enumerate(recall[study, :, side])) for side in range(sides)]
        these = better[study] - worse[study]
        yield by_side, Truth(these, new, these / worse[study])


def calibrate(studies: int = STUDIES, say: Callable[[dict[str, Any]], None] = lambda row: None) -> dict[str, Any]:
    """Simulate and judge so many studies per scenario and number of seeds; `say` is told each row as it is done."""
    rows = []
    for (name, scenario), seeds in itertools.product(SCENARIOS.items(), SEEDS):
        rows.append(_row(name, scenario, seeds, studies))
        say(rows[-1])
    return {
        "schema": SCHEMA,
        "seed": SEED,
        "studies": studies,
        "family": FAMILY,
        "users": USERS,
        "rules": RULES,
        "rows": rows,
    }


def _row(name: str, scenario: Scenario, seeds: int, studies: int) -> dict[str, Any]:
    """Counts over studies.

    `alone_<word>`, `family_<word>`: the first claim, judged alone, and any of the family got this verdict;
    `covered`, `crossed_covered`: the interval held its own truth;
    `equivalent`: the first claim would be called "no effect" if the true effect were the smallest that matters.
    """
    row: dict[str, Any] = dict.fromkeys(
        [f"{kind}_{word}" for kind in ("alone", "family") for word in WORDS]
        + ["covered", "crossed_covered", "equivalent"],
        0,
    )
    relative = []
    for start in range(0, studies, BATCH):
        stream = numpy_stream(SEED, f"calibration/{name}/{seeds}/{start}")
        for (better, *worse), truth in simulate(scenario, seeds, stream, min(BATCH, studies - start)):
            compared = [found for side in worse if (found := compare(better, side))]
            for kind, words in (("alone", _judged(compared[:1])), ("family", _judged(compared))):
                for word in WORDS:
                    row[f"{kind}_{word}"] += word in words
            effect, (low, high) = compared[0].effect, compared[0].for_new_users
            row["covered"] += bool(effect.low <= truth.these_users <= effect.high)
            row["crossed_covered"] += bool(low <= truth.new_users <= high)
            row["equivalent"] += judge(effect, effect.p, 1, abs(truth.relative)).word == "no effect"
            relative.append(effect.relative)
    return {"scenario": name, "seeds": seeds, "relative_effect": round(float(np.mean(relative)), 6), **row}


def _judged(family: list[Comparison]) -> list[str]:
    """The verdicts on a family of claims."""
    corrected = holm([compared.effect.p for compared in family])
    return [judge(c.effect, p, len(family), SMALLEST).word for c, p in zip(family, corrected, strict=True)]


def wilson(count: int, of: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a rate."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(count, of, method="wilson")
    return float(low), float(high)


def read(path: Path) -> dict[str, Any]:
    """What a calibration left in `path`. Raises InputError for a file that is not whole."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if table["schema"] != SCHEMA:
            raise InputError(
                f"{path}: schema {table['schema']} is not the one of this program; delete it to run it again"
            )
        if table["rules"] != RULES:
            raise InputError(
                f"{path}: made with other rules for verdicts (ablations/verdicts.py); delete it to run it again"
            )
        return table
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; first: tmfun calibrate {path.stem}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a complete calibration ({error!r}); delete it to run it again") from error


def write(path: Path, table: dict[str, Any], rows: str) -> None:
    """Write `table` whole or not at all, one line for each of its `rows`: small, and a change shows as a line."""
    head = {key: value for key, value in table.items() if key != rows}
    lines = ",\n".join(json.dumps(row, allow_nan=False) for row in table[rows])
    text = json.dumps(head, allow_nan=False)[:-1] + f', "{rows}": [\n{lines}\n]}}\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
