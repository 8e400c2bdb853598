"""Spellings of one word made alike: British and American English, Greek letters and their names.

A word is changed only where both spellings mean the same. Names that the spelling tells apart keep it: Grey's Anatomy
and Gray's Anatomy, the Labour Party and the Labor Party, Tyre and tire.
"""

import re
import unicodedata
from functools import lru_cache

_GREEK = re.compile("[\u0391-\u03a9\u03b1-\u03c9]")
_GREEK_WORD = re.compile("[\u0370-\u03ff\u1f00-\u1fff]{2}")
_OHM = re.compile("(?<=\\d)\\s?\u03a9(?!\\w)")
_MICRO = re.compile("\u03bc(?=[a-z])")  # of a unit, as in μm

_OUR = (
    "arm|behavi|cand|clam|(?:dis|multi|techni|water)?col|(?:mis)?demean|endeav|fav|ferv|flav|glam|harb|(?:dis)?hon|hum|neighb|od|parl"
    "|ranc|rig|rum|savi?|splend|succ|tum|val|vap|vig"
)
_RE = (
    "cent|epicent|theat|amphitheat|fib|sab|somb|spect|calib|lust|meag|scept|sepulch|(?:milli)?lit"
    "|(?:kilo|centi|milli|micro|nano)?met"
)
_L = (
    "barrel|cancel|carol|channel|chisel|counsel|council|dial|duel|enamel|equal|fuel|gravel|jewel|label|level|libel|marvel|model|panel"
    "|pedal|pencil|quarrel|rival|shovel|signal|snorkel|spiral|total|towel|travel|tunnel|wool"
)
# Words that end in -ise everywhere keep it.
_ISE = (
    r"(?!(?:adv|\w*ar|compr|comprom|desp|dev|disgu|enterpr|exc|exerc|expert|franch|improv|inc|merchand|pr[eo]m|\w*ra|rev|superv|surm|surpr"
    r"|telev|\w*no|cru|bru|treat|parad|prec|conc|dem|\w*po|\w*w|turquo|torto|lou|den|el)is)"
)
_RULES = [
    (re.compile(pattern), to)
    for pattern, to in (
        (rf"^({_OUR})our(?=(?:s|ed|ing|er|ers|able|ful|less|ist|ists|hood|hoods|ite|ites|y|al|ly)?$)", r"\1or"),
        (rf"^{_ISE}([a-z]{{3,}})is(?=(?:e|ed|es|er|ers|ing|ation|ations)$)", r"\1iz"),
        (r"^([a-z]+ly)s(?=(?:e|ed|es|er|ers|ing)$)", r"\1z"),
        (rf"^({_RE})re(?=(?:s|d)?$)", r"\1er"),
        (rf"^({_L})l(?=(?:ed|ing|ings|er|ers|ist|ists|or|ors|ous|ously|en|ens|ery)$)", r"\1"),
        (r"^sulph", "sulf"),
        (r"aemi(?=[ac])", "emi"),
        (r"^haem(?=[ao])", "hem"),
        (r"anaesth", "anesth"),
        (r"^(p|orthop|encyclop)aed", r"\1ed"),
        (r"^(arch|pal)aeo", r"\1eo"),
        (r"^gynaec", "gynec"),
        (r"^oe(?=soph|strog|dema)", "e"),
        (r"^foet(?=us|uses|al)", "fet"),
        (r"rrhoea$", "rrhea"),
        (r"^manoeuvr(?:e(?=[sd]?$)|(?=ing))", "maneuver"),
    )
]
_PAIRS = """
aluminium:aluminum aeroplane:airplane aeroplanes:airplanes grey:gray greys:grays mould:mold moulds:molds
mouldy:moldy moult:molt plough:plow ploughs:plows ploughed:plowed pyjamas:pajamas moustache:mustache
moustaches:mustaches sceptic:skeptic sceptics:skeptics sceptical:skeptical scepticism:skepticism
programme:program programmes:programs catalogue:catalog catalogues:catalogs dialogue:dialog
dialogues:dialogs analogue:analog defence:defense defences:defenses offence:offense offences:offenses
licence:license licences:licenses pretence:pretense ageing:aging yoghurt:yogurt yoghurts:yogurts
whiskey:whisky whiskeys:whiskies omelette:omelet omelettes:omelets cosy:cozy jewellery:jewelry
fulfil:fulfill enrol:enroll skilful:skillful wilful:willful instalment:installment
instalments:installments mediaeval:medieval caesium:cesium faeces:feces amoeba:ameba amoebas:amebas
labour:labor labours:labors labourer:laborer labourers:laborers tyre:tire tyres:tires doughnut:donut
doughnuts:donuts
"""
_WORDS = dict(pair.split(":") for pair in _PAIRS.split())
_TOLD_APART = frozenset({"grey", "greys", "labour", "labours", "tyre", "tyres"})
"""Words that are spelled in one way as a name: changed only in lower case."""


def name_greek(text: str) -> str:
    """Greek letters among other text by their names ("β-carotene", "TGFβ"); words in Greek are left as they are."""
    if not _GREEK.search(text) or _GREEK_WORD.search(text):
        return text
    text = _OHM.sub(" ohm", text)
    kept = {match.start() for match in _MICRO.finditer(text)}
    return "".join(
        _greek_name(letter) if _GREEK.match(letter) and n not in kept else letter for n, letter in enumerate(text)
    )


def _greek_name(letter: str) -> str:
    return unicodedata.name(letter).rpartition(" ")[2].lower().replace("lamda", "lambda")


def respell(word: str, raw: str) -> str:
    """A casefolded word in its American spelling; `raw` is how it was written."""
    return word if word in _TOLD_APART and not raw.islower() else _american(word)


@lru_cache(maxsize=50_000)
def _american(word: str) -> str:
    if not 4 <= len(word) <= 40 or not word.isascii():
        return word
    if word in _WORDS:
        return _WORDS[word]
    for pattern, to in _RULES:
        found = pattern.sub(to, word)
        if found != word:
            return found
    return word
