"""Does the guarantee of `abstain` hold, and how much does it answer? Simulated on populations whose risk is known.

Run: python bench/abstention.py [--draws 500]
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
from measuring import record

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS))

from support.abstention import CLEAR, FALLING, WEAK, Population, simulate  # noqa: E402

EASY = Population(-2.2, 0.5)
POPULATIONS = {"clear": CLEAR, "weak": WEAK, "easy": EASY, "falling": FALLING}
SIZES = (100, 300, 1000)


def mapie_coverage(population: Population, thresholds: list[float | None]) -> float:
    """Mean coverage of MAPIE's thresholds on the probability of being right."""
    places = [
        (math.log((1 - p) / p) - population.offset) / population.slope if p > 0 else math.inf
        for p in thresholds
        if p is not None and p < 1
    ]
    return sum(population.at(place)[0] for place in places) / len(thresholds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=500)
    draws = parser.parse_args().draws
    allowed = 0.1 + 2 * math.sqrt(0.1 * 0.9 / draws)
    for name, population in POPULATIONS.items():
        for n in SIZES:
            found = simulate(population, n, draws=draws)
            shares = {"draws that break the promise": [found.violations], "allowed with two standard errors": [allowed],
                      "draws with a threshold": [found.found], "share answered": [found.coverage]}  # fmt: skip
            record(f"abstain, population '{name}', {n:,} labels, {draws} draws", shares, "share")
    oracle = json.loads((TESTS / "detection" / "decisions" / "mapie_oracle.json").read_text())
    for name, theirs in oracle["populations"].items():
        population = Population(theirs["offset"], theirs["slope"])
        shares = {f"MAPIE {oracle['mapie']}, {grid}": [mapie_coverage(population, found)]
                  for grid, found in theirs["thresholds"].items()}  # fmt: skip
        ours = simulate(population, oracle["n"], draws=oracle["draws"]).coverage
        record(f"abstain, answered share of '{name}', {oracle['n']} labels", {"hneurons": [ours], **shares}, "share")


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
