"""Facts of the tables in written.txt, checked where a package knows them."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from fact_sources.fact import Fact, distinct
from fact_sources.science import check_formula, check_moon, check_unit
from fact_sources.words import inflected

WRITTEN = "written for hneurons"


PERSONS = {"author", "playwright", "composer", "painter", "inventor", "us_president"}


CHECKS: dict[str, Callable[[str, str], None]] = {
    "compound_formula": check_formula,
    "si_unit": check_unit,
    "solar_system": check_moon,
}


def written() -> Iterator[Fact]:
    relation = template = ""
    for line in (Path(__file__).parent / "written.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if head := re.fullmatch(r"\[(\w+)\] (.*)", line):
            relation, template = head.groups()
        elif " = " in line:
            subject, known = line.split(" = ")
            names = [name.strip() for name in known.split("|")]
            if names[-1] == "-":
                names = names[:-1]
            elif relation in PERSONS and " " in names[0]:
                names.append(names[0].split()[-1])
            check = CHECKS.get(relation)
            source = WRITTEN
            if check:
                check(subject, names[0])
                source = f"{WRITTEN}, checked with {check.__doc__}"
            yield Fact(relation, subject, template.format(subject), distinct(names), source)
        else:
            for word in line.split():
                source = "lemminflect (MIT)" + (", checked with inflect (MIT)" if relation == "plural" else "")
                if answers := inflected(relation, word):
                    yield Fact(relation, word, template.format(word), answers, source)
