"""Names in a reply that are a known name written another way: initials, middle names, a surname alone, spelling."""

from collections.abc import Sequence

from rapidfuzz.distance import OSA

from hneurons.answers.judges.normalize import Token

_FEMALE_MALE_SHORT = {
    "bill": "william", "bob": "robert", "dick": "richard", "jack": "john", "jim": "james", "ted": "edward",
    "tony": "anthony", "johnny": "john", "jimmy": "james", "liz": "elizabeth", "kate": "katherine", "peggy": "margaret",
    "chuck": "charles", "hank": "henry", "larry": "lawrence", "mike": "michael", "steve": "stephen", "harry": "henry",
    "andy": "andrew", "betty": "elizabeth", "bobby": "robert", "tommy": "thomas", "joe": "joseph", "meg": "margaret",
}  # fmt: skip

_PLACES = {"st": "saint", "mt": "mount", "ft": "fort"}


def is_misspelled(one: str, other: str) -> bool:
    """Whether two long words differ by a typing error: one edit from five letters on, two from nine on."""
    length = min(len(one), len(other))
    if length < 5 or one[0].isdigit() or other[0].isdigit():
        return False
    return OSA.distance(one, other, score_cutoff=2 if length >= 9 else 1) <= (2 if length >= 9 else 1)


def same_word(one: str, other: str) -> bool:
    """Whether two words are one but for an ending or a typing error: "paintings" is painting."""
    if one == other:
        return True
    short, long = sorted((one, other), key=len)
    if _PLACES.get(short) == long:
        return True
    if len(short) < 4 or short[0].isdigit():
        return len(short) >= 3 and long in (short + "s", short + "es")
    stem = short.rstrip("es") if short.endswith(("es", "s")) else short[:-1] if short[-1] in "ey" else short
    if long.startswith(short) or (len(stem) >= 4 and long.startswith(stem) and len(long) - len(stem) <= 5):
        return True
    return is_misspelled(one, other)


def same_given_name(one: str, other: str) -> bool:
    """Whether two given names may be one: equal, an initial, a short form."""
    short, long = sorted((one, other), key=len)
    if short == long or (len(short) == 1 and long.startswith(short)):
        return True
    if len(short) >= 3 and (long.startswith(short) or _FEMALE_MALE_SHORT.get(short, "-") == long):
        return True
    return _FEMALE_MALE_SHORT.get(one, one) == _FEMALE_MALE_SHORT.get(other, other) or is_misspelled(one, other)


def find_person(name: Sequence[Token], tokens: Sequence[Token]) -> tuple[int, int] | None:
    """Where a reply says a person's first name and surname with other middle names: "James O. Prochaska".

    Between the two stand at most three words, each a name or an initial, in one sentence and without comma.
    """
    if len(name) < 2 or not all(token.raw[:1].isupper() for token in (name[0], name[-1])):
        return None
    if any(token.gap.strip(" .") for token in name[1:]):
        return None
    last = name[-1].text
    for n, token in enumerate(tokens):
        if n == 0 or not token.raw[:1].isupper() or not (token.text == last or is_misspelled(token.text, last)):
            continue
        for first in range(n - 1, max(-1, n - 5), -1):
            between = tokens[first + 1 : n + 1]
            if any("," in t.gap or (t.starts_sentence and len(t.raw) > 1) or not t.raw[:1].isupper() for t in between):
                break
            if tokens[first].raw[:1].isupper() and same_given_name(tokens[first].text, name[0].text):
                return first, n + 1
    return None
