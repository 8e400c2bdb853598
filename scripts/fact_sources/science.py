"""Elements, stars and units, and the checks of the written science tables."""

import re
from collections.abc import Iterator

from fact_sources.fact import Fact, distinct, fold

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
        yield Fact(
            "element_symbol", element.symbol, f"What is the chemical symbol of {name}?", (element.symbol,), source
        )
        yield Fact(
            "element_of_symbol",
            element.symbol,
            f"Which chemical element has the symbol {element.symbol}?",
            names,
            source,
        )
        yield Fact(
            "atomic_number", element.symbol, f"What is the atomic number of {name}?", (str(element.number),), source
        )


def stars() -> Iterator[Fact]:
    import ephem
    import ephem.stars

    variants = "Adara Agena Albereo Alcaid Etamin Formalhaut Sirrah Gienah"  # spellings or names of two stars
    alias = {
        "Ursa Major": ("Great Bear",),
        "Ursa Minor": ("Little Bear", "Little Dipper"),
        "Canis Major": ("Greater Dog",),
        "Crux": ("Southern Cross",),
        "Scorpius": ("Scorpio",),
        "Capricornus": ("Capricorn",),
    }
    for name in sorted(ephem.stars.stars):
        if name in variants or " " in name:
            continue
        body = ephem.star(name)
        body.compute("2000/1/1", epoch="2000")
        constellation = (
            ephem.constellation(body)[1].removesuffix(" Caput").removesuffix(" Cauda").replace("Bootes", "Boötes")
        )
        answers = (constellation, *alias.get(constellation, ()))
        yield Fact("star_constellation", name, f"In which constellation is the star {name}?", answers, "ephem (MIT)")


CONVERSIONS = """
inch foot|foot yard|yard mile|foot mile|furlong mile|foot fathom|ounce pound|pound stone|pint quart|quart gallon
cup pint|pint gallon|fluid_ounce cup
teaspoon tablespoon|minute hour|second minute|second hour|hour day|day week|gram kilogram
meter kilometer|centimeter meter|millimeter centimeter|milliliter liter|kilogram metric_ton|hour week|minute day
"""


def conversions() -> Iterator[Fact]:
    import pint

    registry = pint.get_application_registry()
    plural = {"inch": "inches", "foot": "feet"}
    for pair in re.split(r"[|\n]", CONVERSIONS.strip()):
        small, large = pair.split()
        value = (1 * registry(large)).to(registry(small).units).magnitude
        assert abs(value - round(value)) < 1e-4 * value, pair  # survey and international units differ by 2e-6
        few, one = plural.get(small, f"{small}s").replace("_", " "), large.replace("_", " ")
        article = "an" if one == "hour" else "a"
        number = round(value)
        yield Fact("how_many", pair, f"How many {few} are in {article} {one}?", (str(number),), "pint (BSD)")


def check_formula(name: str, formula: str) -> None:
    """chemicals (MIT) and periodictable"""
    import periodictable
    from chemicals import search_chemical

    known = search_chemical(name.replace("aluminium", "aluminum")).formula
    assert periodictable.formula(known).atoms == periodictable.formula(formula).atoms, (name, known, formula)


SI_UNITS = {
    "force": "kg*m/s**2",
    "energy": "kg*m**2/s**2",
    "power": "kg*m**2/s**3",
    "pressure": "kg/m/s**2",
    "electric charge": "A*s",
    "electric potential": "kg*m**2/s**3/A",
    "electrical resistance": "kg*m**2/s**3/A**2",
    "electric current": "A",
    "capacitance": "A**2*s**4/kg/m**2",
    "inductance": "kg*m**2/s**2/A**2",
    "magnetic flux": "kg*m**2/s**2/A",
    "magnetic flux density": "kg/s**2/A",
    "electrical conductance": "A**2*s**3/kg/m**2",
    "frequency": "1/s",
    "radioactivity": "1/s",
    "absorbed dose of radiation": "m**2/s**2",
    "equivalent dose of radiation": "m**2/s**2",
    "catalytic activity": "mol/s",
    "luminous intensity": "cd",
    "luminous flux": "cd*sr",
    "illuminance": "cd*sr/m**2",
    "mass": "kg",
    "length": "m",
    "time": "s",
    "temperature": "K",
    "amount of substance": "mol",
    "plane angle": "rad",
    "solid angle": "sr",
}


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
