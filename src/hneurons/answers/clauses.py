"""Lead-ins, clause ends and verbs: the patterns by which a sentence is taken apart."""

import re

LEAD_IN = re.compile(
    r"""\s{0,20}(?:[-*•>]{1,10}\s{1,20}|\d{1,2}[.)]\s{1,20})?[*_"“]{0,10}
    (?:(?:sure|certainly|of\ course|absolutely|(?:that's\ an?\ )?(?:great|good|excellent)\ question|okay|ok|yes|no
        |well|hmm|however|thank\ you|thanks)\b[^.!:,\n]{0,24}[.!:,]+\s+)*
    (?:here(?:['’]s|\ is|\ are)\b[^:\n]{0,60}:\s*)?
    (?:[*_]*(?:(?:the\ |my\ )?(?:short\ |final\ |correct\ |best\ )?answer|a|response)[*_]*\s*:[*_]*\s*)?
    (?:i(?:['’]m|\ am)\ (?:not\ |fairly\ |pretty\ )?(?:sure|confident|certain)\b,?\ (?:but\ )?(?:that\ )?)?
    (?:(?:i\ (?:would\ |['’]d\ |do\ )?(?:think|believe|guess|suspect|say|assume|know)(?:\ that)?
        |my\ (?:best\ )?guess\ (?:is|would\ be)|probably|possibly|perhaps|maybe|most\ likely|actually
        |based\ on\ [^,\n]{1,60}),?\s+)*
    (?:(?:(?:it|that|this)(?:['’]s|\ is)?\ |the\ answer\ is\ )?(?:not|isn['’]t|is\ not)\ [^,.;\n]{1,60}?(?:,\s*|\s)
         (?:(?:but|rather)\s(?:it['’]s\s|it\ is\s)?|it['’]s\s|it\ is\s)
      |(?:many|most|some|people|others)\b[^.;\n]{1,80}?,?\s(?:but|however,?|though)\s(?:actually\s|in\sfact\s)?
         (?:it['’]s\s|it\ is\s|the\ (?:correct\ |right\ )?answer\ is\s)
      |(?:the\ |my\ )?(?:(?:correct|right|final|short|best|most\ likely|only)\ )*answer
         (?:\ to\ (?:your|the|this|that)\ question)?\s+(?:is|was|would\ be|should\ be)(?:\ that)?\s*[:,]?\s*
      |(?:it|that|this|he|she|they|these|those)
         (?:['’]s|['’]re|\ (?:is|was|are|were|would\ be|must\ be|might\ be|could\ be|may\ be))\s+
         (?:(?:probably|likely|actually|most\ likely)\s+)?(?:(?:called|named|known\ as)\s+)?
      |答案是?\s*[:：]?\s*|答えは\s*[:：]?\s*)?
    [*_"“]*""",
    re.VERBOSE | re.IGNORECASE,
)
CLAUSE_END = re.compile(
    r"""\n | [。！？；] | [!?](?=\W|$) | ;\s | \s[-–—]+\s | — | \s\((?=\w) | \.(?=["'”’)\]*]*(?:\s|$))
    | ,\s+(?=(?:which|who|whom|whose|where|when|because|since|as|but|so|while|although|though|however|not|he|she|it|they
         |this|these|that|the|a|an|born|located|known|also|and\s+(?:it|he|she|they|is|was|has))\b)
    | \s(?=(?:because|although|though|but|since|which)\s)""",
    re.VERBOSE,
)
ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Drs?|St|Jr|Sr|vs|No|Mt|Prof|Gen|Col|Lt|Capt|Ft|Inc|Ltd|Co|Rev|Sgt|Bros)|\b[A-Z](?:\.[A-Z])*)$"
)
PASSIVE = re.compile(
    r"""^(?P<subject>[^,]{2,120}?)\s(?:
      (?:is|was|are|were|has\ been|have\ been)\s(?:\w+ly\s)?(?:called|named|titled|entitled|known\ as|referred\ to\ as)
      |(?:is|was|are|were|has\ been|have\ been)\s(?:\w+ly\s)?
       (?:\w{2,}ed|written|sung|born|built|led|won|made|held|set|known|found|drawn|begun|taught|shot|bred|spoken|given)\s
       (?:by|in|on|at|as|from|to|of|for)
      |(?:occurred|happened|took\ place|began|started|ended|died|lives|lived|stands|lies)\s(?:in|on|at)
      )\s(?:the\ year\s)?(?P<answer>\S.*)$""",
    re.VERBOSE,
)
PARTICIPLE = re.compile(
    r"\b(?:\w{2,30}ed|written|born|built|won|made|held|set|found)\s(?:by|in|on|at|from)\s(?:the\syear\s)?(?P<answer>\S.*)$"
)
PREDICATE = re.compile(
    r"""^(?P<subject>\S[^;]{0,150}?)(?<!\swho)(?<!\sthat)(?<!\swhich)(?<!\swhat)(?<!^there)(?<!^There)
    \s(?:is|was|are|were)(?:\s(?:called|named|known\sas|probably|likely|most\slikely))*\s(?P<answer>\S.*)$""",
    re.VERBOSE,
)
COMMON_SUBJECT = re.compile(
    r"(?:[Tt]he|[Tt]his|[Tt]hat|[Tt]hese|[Aa]n?|[Hh]is|[Hh]er|[Ii]ts|[Tt]heir|[Oo]ne)\s[a-z0-9\"'“]"
)
SUBJECT = re.compile(
    r"""^(?!(?:I|It|You|We|They|There|In|On|At|As|If|Who|What|Which|Some|Not)\b)
    (?P<answer>(?:[Tt]he\s)?["“]?[A-Z0-9][\w.'’&-]*
      (?:(?:\s(?:of|the|de|da|du|van|von|del|la|le|and|&|in|on|to|for))*\s[A-Z0-9][\w.'’&-]*)*?["”]?)\s
    (?:(?:is|was|are|were)\s(?:the|an?|one|also|known|famous|not)\b
      |(?:first\s|also\s|originally\s)?(?:wrote|directed|painted|discovered|invented|founded|created|composed|played|plays
         |sang|won|designed|developed|built|led|became|starred|recorded|released|published|produced|scored|holds|held
         |hosted|married|killed|said|has|had|did)\b)""",
    re.VERBOSE,
)
SENTENCE_END = re.compile(r"\n|[。！？]|[!?](?=[\s\"”'’)\]*]|$)|\.(?=[\"'”’)\]*\d]{0,3}(?:\s|$))")
VERB = re.compile(
    r"""\s(?:is|was|are|were|be|been|being|became)(?:\s\w{2,20}ly)?
      (?:\s(?:called|named|titled|entitled|known\sas|referred\sto\sas|considered|thought\sto\sbe|believed\sto\sbe))?
      (?:\s(?:[a-z]\w{1,19}ed|written|sung|born|built|led|won|made|held|set|found|drawn|begun|shot|given|won|spoken)
         \s(?:by|in|on|at|as|from|to|of|for|with))?(?=\s)
    | \s(?:[a-z]\w{1,19}ed|wrote|sang|won|made|took\splace|began|became|came\sout|plays|lies|stands|means|has|had|have)
      \s(?:by|in|on|at|as|from|to|of|for|with)?(?=\s?)
    | ,\s(?:called|named)(?=\s) | \s(?:by|to\sbe)(?=\s)""",
    re.VERBOSE,
)
PREAMBLE = re.compile(
    r"""\s{0,20}(?:as\san?\s(?:\w+\s){0,3}(?:ai|model|assistant)\b
      | i['’]?\s?a?m\s(?:sorry|just\san?\s)
      | i\s(?:do\snot|don['’]t|cannot|can['’]t)\s
      (?:have\s(?:access|personal)|browse|access) | (?:that|this)\sis\san?\s(?:great|good|interesting)\squestion
      | thank\syou\sfor | let\sme\s | i['’]?\s?(?:would\sbe|am|m)\s(?:happy|glad)\sto\s)
    [^.!?\n]{0,300}[.!?\n]+\s*(?=\S)""",
    re.VERBOSE | re.IGNORECASE,
)
ADVERBIAL = re.compile(
    r"(?:in|on|at|during|according\sto|after|before|by|from|as\sof|for|following|since|until|with|under)\s[^,.;\n]{1,80},"
    r"(?:\s(?:1\d{3}|20\d{2}),)?\s+(?=\S)",
    re.IGNORECASE,
)
OPTIONS = re.compile(r"\b(\w{1,40}),?\sor\s(?:an?\s|the\s)?(\w{1,40})")
YES_NO_QUESTION = re.compile(
    r"\s{0,20}(?:is|are|was|were|do|does|did|can|could|has|have|had|will|would|should)\s(?!.{0,300}\sor\s)",
    re.IGNORECASE,
)
YES_NO = re.compile(r"\W{0,20}(yes|no|true|false)\b", re.IGNORECASE)
