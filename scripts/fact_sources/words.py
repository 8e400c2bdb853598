"""Words: inflected forms, days, months and numbers in other languages."""

import re
import sys
from collections.abc import Iterator
from itertools import pairwise

from fact_sources.fact import CLDR, Fact, distinct, fold

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
            yield Fact(
                "word_in_foreign",
                f"{code}-{here}",
                f"What is the {tongue} word for {here}?",
                distinct([there, there.removesuffix("-feira")]),
                CLDR,
            )
            yield Fact(
                "word_from_foreign",
                f"{code}-{here}",
                f'What does the {tongue} word "{there}" mean in English?',
                (here,),
                CLDR,
            )
    for kind, names in (("day of the week", english[:7]), ("month", english[7:])):
        for number, name in enumerate(names):
            for word, step in (("after", 1), ("before", -1)):
                other = names[(number + step) % len(names)]
                yield Fact("sequence", f"{word}-{name}", f"Which {kind} comes right {word} {name}?", (other,), CLDR)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for here, there in pairwise(letters):
        if there not in "AI":
            yield Fact(
                "sequence", here, f"Which letter of the English alphabet comes right after {here}?", (there,), CLDR
            )


def number_words() -> Iterator[Fact]:
    from num2words import num2words

    for code, tongue in TONGUES.items():
        for number in (*range(2, 16), 20, 30, 100, 1000):
            here, there = num2words(number), num2words(number, lang=code)
            here = here.removeprefix("one ")
            if " " in there or fold(here)[:3] == fold(there)[:3] or (code, number) == ("pt", 2):
                continue
            source = "num2words"
            yield Fact(
                "word_in_foreign",
                f"{code}-{number}",
                f'What is the {tongue} word for the number "{here}"?',
                distinct([there, re.sub("^ein(hund|taus)", r"\1", there)]),
                source,
            )
            question = f'Which number is called "{there}" in {tongue}?'
            yield Fact("word_from_foreign", f"{code}-{number}", question, (str(number), here), source)


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
