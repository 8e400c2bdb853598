"""Does the drift alarm go off where it should, and nowhere else? Simulated with known domains.

Run: python bench/drift.py [--draws 100]
"""

import argparse
import sys
from pathlib import Path
from statistics import median

from measuring import record

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.drifting import HARDER, HOME, OTHER, Domain, watch

DOMAINS = {
    "the same domain": HOME,
    "log odds higher by half a standard deviation": Domain(shift=0.5),
    "log odds higher by a standard deviation": HARDER,
    "other neurons, equal log odds": OTHER,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100)
    draws = parser.parse_args().draws
    for reference, new in ((150, 120), (300, 300)):
        fired, since = {}, {}
        for name, domain in DOMAINS.items():
            found = [watch(domain, reference=reference, new=new, seed=seed) for seed in range(draws)]
            fired[name] = [sum(one.alarm for one in found) / draws]
            if domain is not HOME:
                since[name] = [float(median(one.since or new + 1 for one in found))]
        what = f"{reference} labelled answers, {new} new ones, {draws} draws"
        record(f"drift, draws with an alarm, {what}", fired, "share")
        record(f"drift, answers until the alarm, {what}", since, "answers")


if __name__ == "__main__":
    main()
