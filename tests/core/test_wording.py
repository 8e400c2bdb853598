"""How numbers are said."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from hneurons.core.stats import Estimate, bootstrap, bounded_interval, cohen_kappa, wilson
from hneurons.core.wording import count, interval, listing, number, of_items, percent, points, spread

NAN = math.nan


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (number(-0.0004), "0.000"),
        (number(-0.0), "0.000"),
        (number(-0.0004, sign=True), "+0.000"),
        (number(-0.0006), "-0.001"),
        (number(NAN), "–"),
        (interval(Estimate(-0.0001, -0.0004, 0.25, 9)), "0.000 [0.000, 0.250]"),
        (interval(Estimate(NAN, NAN, NAN, 0)), "not testable"),
        (percent(Estimate(0.5, 0.25, 0.75, 9)), "50.0 [25.0, 75.0]"),
        (percent(Estimate(NAN, NAN, NAN, 0)), "–"),
        (points(Estimate(-0.012, -0.05, 0.03, 9)), "-1.20 [-5.00, 3.00]"),
        (points(Estimate(-0.00001, -0.05, -0.00001, 9)), "+0.00 [-5.00, 0.00]"),
        (points(Estimate(0.1, 0.05, 0.15, 9), 1, unit=" pp"), "+10.0 pp [5.0, 15.0]"),
        (percent(Estimate(0, 0, 0.00004, 100_000)), "0.000 [0.000, 0.004]"),
        (interval(Estimate(1, 1 - 1e-16, 1, 5)), "1.000 (no interval from n=5)"),
        (interval(Estimate(0, 0, 0, 20)), "0.000 (no interval from n=20)"),
        (percent(Estimate(1, 1, 1, 5)), "100.0 (no interval from n=5)"),
        (interval(Estimate(0.7, NAN, NAN, 1)), "0.700 (no interval from n=1)"),
        (spread(0.6, 0.5, 0.7), "0.600 (range 0.500 to 0.700)"),
        (of_items(Estimate(0, 0, 0, 7), 9), " (n=7)"),
        (of_items(Estimate(0, 0, 0, 9), 9), ""),
        (count(1, "neuron"), "1 neuron"),
        (count(1000, "neuron"), "1,000 neurons"),
        (listing(["a"]), "a"),
        (listing(["a", "b", "c"]), "a, b and c"),
        (str(Estimate(0.5, 0.4, 0.6, 3)), "0.500 [0.400, 0.600] (n=3)"),
    ],
)
def test_every_number_is_said_in_one_way(said: str, expected: str) -> None:
    assert said == expected


def test_an_interval_of_units_that_are_all_alike_is_what_wilson_leaves_open() -> None:
    alike = np.zeros(100)
    found = bounded_interval(0.0, alike, 20, units=20, lowest=0, highest=1)
    assert (found.low, found.high) == pytest.approx((0.0, wilson(0, 20).high))
    found = bounded_interval(1.0, alike + 1, 5, units=5, lowest=0, highest=1)
    assert (found.low, found.high) == pytest.approx((wilson(5, 5).low, 1.0))
    moving = bounded_interval(0.5, np.linspace(0, 1, 41), 20, units=20, lowest=0, highest=1)
    assert (moving.low, moving.high) == pytest.approx((0.025, 0.975))
    assert math.isnan(bounded_interval(NAN, np.array([NAN]), 0, units=0, lowest=0, highest=1).low)


def test_perfect_agreement_of_few_is_not_certain() -> None:
    kappa = cohen_kappa(["a", "b"] * 5, ["a", "b"] * 5)
    assert kappa.value == 1 and kappa.low < 0.6 and kappa.high == 1
    mean = bootstrap(lambda index: 1.0, 8, bounds=(0.0, 1.0))
    assert mean.low == pytest.approx(wilson(8, 8).low)


_HANDMADE = re.compile(
    r"\[\{[^\]\n]*:[+,]?\.\d[fg]?[^\]\n]*, *\{|%[+]?\.\d[fg] \[|\[\{+ ?number\(|\"%[+]?\.\d[f]\" ?\| ?format"
)


@pytest.mark.parametrize(
    "made", ['f"[{low:.3f}, {high:.3f}]"', '"%+.3f [%+.3f"', '"[{number(low)}, "', '"%.2f" | format']
)
def test_the_search_for_numbers_made_by_hand_finds_them(made: str) -> None:
    assert _HANDMADE.search(made)


def test_intervals_and_decimals_are_said_here_alone() -> None:
    source = Path(__file__).parents[2] / "src/hneurons"
    texts = [path for kind in ("*.py", "*.html", "*.txt") for path in source.rglob(kind)]
    made = [str(path) for path in texts if _HANDMADE.search(path.read_text()) and path.name != "wording.py"]
    assert len(texts) > 100 and made == []


def test_no_finding_shows_a_value_of_the_language() -> None:
    source = Path(__file__).parents[2] / "src/hneurons/audits"
    made = [str(path) for path in source.rglob("*.py") if re.search(r"\{(dict|list|tuple|set)\(", path.read_text())]
    assert made == []
