"""Replies that give no answer: the model does not know, refuses, or says that the thing does not exist."""

import re

from hneurons.answers.judges.normalize import Token

_ADVERB = (
    r"(?:(?:really|honestly|just|actually|simply|currently|personally|quite|entirely|yet|also|definitively|explicitly|"
    r"clearly|specifically|exactly|completely|even)\ )*"
)
_KNOWING = (
    "know|have|recall|remember|find|found|answer|provide|tell|determine|identify|aware|sure|certain|able|understand|"
    "familiar|see|access|confirm|verify|locate|recognize|heard|been|"
    "think\\ (?:there|it\\ exists|that\\ exists)|feel|comment|give|"
    "help|assist|say|speculate|guess|make|get|comply|think\\ of"
)
# "I cannot help thinking of Paris" and "I don't know of a better one than Paris" do answer.
_KEEN = r"(?!\ (?:keep|leave|bore)\ you\b)"
_NOT_EAGER = (
    r"(?!\ (?:enough|of\ (?:a|any)\ (?:better|other)|it\ hard|this\ up)\b)(?!(?<=help)\ (?:but|\w+ing)\b)"
    r"(?!(?<=think\ of)\ (?:an?|any\w*)\b)(?!\ a\ time\b)"
)
_THING = (
    r"(?:(?:specific|reliable|readily|known|publicly|widely|available|credible|verifiable|real|official|recognized|definitive|"
    r"clear|concrete|record|single|such|further|other|additional|documented|particular|a|an|of)\ )*"
)
_BEING = r"(?:is|are|was|were|has\ been|have\ been|seems?\ to\ be|appears?\ to\ be)"
_KIND = (
    r"(?:country|countries|nation|place|city|animals?|creature|species|plant|food|dish|medicine|medication|drug|sport|"
    r"game|person|term|word|thing|concept|entity|name|one)"
)
_NO_ANSWER = re.compile(
    rf"""\b(?:i|we)\ {_ADVERB}(?:do|did|could|can|am|was|have|would|will|are)\ {_ADVERB}not
      \ {_ADVERB}(?:{_KNOWING})\b{_NOT_EAGER}
    | \b(?:i|we)\ (?:would\ )?{_ADVERB}(?:rather|(?:much\ )?prefer)\ not\b{_KEEN} | ^(?:rather|prefer)\ not\b
    | \b(?:i|we)\ (?:would\ )?(?:must\ |have\ to\ |will\ )?{_ADVERB}(?:(?:respectfully|politely)\ )?(?:decline|refuse)\b
    | ^no\ comment\b | \bi\ am\ (?:not\ comfortable|going\ to\ (?:decline|refuse|pass))\b
    | \bi\ (?:will\ not|am\ not\ going\ to)\ (?:do\ (?:this|that|it|so)|help|assist|answer|discuss)\b
    | \bsorry\ (?:but\ )?i\ {_ADVERB}(?:can|could|will|do|am)\ not\b | \bnot\ something\ (?:that\ )?(?:i|we)\ can\b
    | \bi\ {_ADVERB}not\ {_ADVERB}(?:know|sure|certain)\b
    | ^not\ {_ADVERB}(?:sure|certain|known|available|applicable|enough|specified|possible)\b
    | \bas\ (?:a|an)\ (?:\w+\ ){{0,2}}(?:ai|chatbot|language\ model|assistant)\b
    | \bunsure\b | \bi\ am\ {_ADVERB}(?:uncertain|unable|unaware|unfamiliar)\b
    | \b(?:no|not\ a)\ (?:idea|clue)\b | ^(?:i\ )?have\ no\ \w+$
    | \b(?:is|are|was|were|remains?)\ {_ADVERB}(?:unknown|uncertain|unclear)(?=$|\ [.])
    | \b(?:is|are|was|were)\ {_ADVERB}not\ {_ADVERB}(?:(?:publicly|widely|well)\ )?
      (?:known|available|provided|given|specified|recorded|documented)(?=$|\ [.]|\ but\b)
    | \b(?:information|data|records?|reports?|sources?|text|article|question|context|documents?)\ (?:\w+\ ){{0,5}}
      (?:do|does|did)\ not\ {_ADVERB}
      (?:specify|pinpoint|identify|detail|include|provide|mention|state|contain|indicate|say|reveal|give|list)\b
    | \bno\ {_THING}
      (?:information|records?|evidence|data|mention|knowledge|documentation|references?|consensus|details|answer)\b
    | \bnot\ (?:enough|sufficient)\ (?:information|context|data|details)\b
    | \binsufficient\ (?:information|context|data)\b
    | \b(?:can|could)\ not\ be\ {_ADVERB}(?:determined|answered|verified|found|confirmed|identified)\b
    | \bnot\ possible\ to\ (?:answer|determine|say|know|identify|provide)\b
    | \b(?:could|can|would)\ you\ {_ADVERB}(?:please\ )?(?:provide|clarify|specify|tell|give|rephrase)\b
    | \bplease\ (?:provide|clarify|specify|rephrase|give)\b
    | \bneed\ (?:more|additional|further)\ (?:information|context|details)\b
    | \bthere\ {_BEING}\ {_ADVERB}(?:no|not\ (?:a|an|any))\ {_THING}
      (?:known|such|recognized|documented|recorded|single|definitive|specific|official)\b
    | \b(?:do|does|did)\ not\ {_ADVERB}(?:(?:appear|seem)\ to\ )?(?:actually\ |really\ )?exist\b
    | \b(?:is|are|was|were)\ {_ADVERB}(?:nonexistent|non\ existent)\b
    | \bnot\ {_ADVERB}(?:a|an|any)?\ ?(?:(?:widely|commonly|officially)\ )?
      (?:real|actual|actually|recognized|known|valid|existing)\ \w+
    | ^(?:{_ADVERB}unknown|n\ ?a|none|no\ answer|not\ available|idk|dunno|unanswerable|pass|nothing|sorry|it\ varies)
      (?=$|\ [.])
    """,
    re.VERBOSE,
)
_DENIAL = re.compile(
    rf"""\b(?:is|are|was|were|be|as|be\ a)\ {_ADVERB}(?:(?:a|an|purely|entirely|completely|likely)\ )*
      (?:fictional|fictitious|imaginary|made\ up|invented|fabricated|nonsense|nonsensical|misspelling|typo)\b
    | \bthere\ {_BEING}\ {_ADVERB}(?:no|not\ (?:a|an|any))\ {_THING}{_KIND}\b
    | \bnot\ {_ADVERB}(?:a|an)\ (?:\w+\ )?{_KIND}\b
    """,
    re.VERBOSE,
)
_GUESS = re.compile(
    r"\b(?:but|however|though|although|maybe|perhaps|probably|possibly|likely|might be|could be|may be|"
    r"i (?:would |will |do |can )?(?:think|believe|guess|suspect|say|assume)|my (?:best )?guess|if i had to|"
    r"i am (?:fairly|pretty|quite) sure)\b(?P<rest>[^.]*)"
)
_NO_GUESS = re.compile(
    r"""^(?:[ ,]|however|though|but|it\ is(?:\ likely|\ probably|\ possibly)?|that|possible|likely|possibly)*
    (?:$ | [.]\  | i\ (?:can|could|do|am|would|will|have|did|was)\b | here\b | you\b | please\b | feel\b
      | let\ me | we\b
      | there\ (?:is|are|was|were)\b | if\b
      | (?:\w+\ ){0,6}?(?:not|no|unknown|fictional|invented|mistake|typo|misspelling|referring|reference|confus\w+
          |thinking\ of|mean\w*)\b)""",
    re.VERBOSE,
)


def abstains(tokens: list[Token], *, answerable: bool = True) -> bool:
    """Whether the reply gives no answer, so that it is neither right nor wrong.

    "I'm not sure, but I think it's Rome" gives one and does not abstain. About something invented
    (`answerable=False`), denying that it exists or calling it fictional is abstaining too.
    """
    text = sentence_text(tokens)
    match = _NO_ANSWER.search(text) or (None if answerable else _DENIAL.search(text))
    return match is not None and not _offers_guess(text[match.end() :])


def _offers_guess(text: str) -> bool:
    guess = _GUESS.search(text)
    return guess is not None and not _NO_GUESS.search(guess["rest"].strip())


def sentence_text(tokens: list[Token]) -> str:
    """The tokens as one string in which " . " parts the sentences."""
    return " ".join(f". {token.text}" if n and token.starts_sentence else token.text for n, token in enumerate(tokens))
