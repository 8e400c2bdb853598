"""FalseQA (Hu et al. 2023, arXiv 2307.02394): questions with a false premise."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from hneurons.answers.judges.abstention import abstains
from hneurons.answers.judges.normalize import tokenize
from hneurons.answers.questions.rows import question_key, read_rows
from hneurons.benchmarks.benchmark import BENCHMARKS, Benchmark, Item, demand_files
from hneurons.core.errors import SchemaError
from hneurons.core.seeds import fingerprint
from hneurons.records.record import Record

_OPENING = re.compile(
    r"^\W*+(?:no\b(?!\s+matter)|nothing|nobody|none|not\b(?!\s+only)|wrong|incorrect|false|impossible|"
    r"(?:(?<=[^\w.!?;])|(?!because|since|as\b|if\b|when|to\b|so\b))[^.!?;]*?(?:\b(?:not(?!\s+only)|never|cannot|neither|nor)\b|n['’]t\b|"
    r"\b(?:has|have|had|there\s+(?:is|are|was|were)|with)\s+no\b))",
    re.IGNORECASE,
)
_ANYWHERE = re.compile(
    r"\b(?:misconception|myth\b|misunderstanding|false premise|premise (?:is|of)|not (?:true|accurate|correct|possible|"
    r"real|factual)|isn['’]t (?:true|accurate|correct|possible|real)|(?:is|are) (?:incorrect|inaccurate|impossible|"
    r"false|untrue|wrong)|impossible (?:to|for)|there (?:is|are|was|were) no|no such thing|no one can|nobody can|"
    r"(?:does|do|did)(?:\s+not|n['’]t) (?:exist|make sense)|makes no sense|no evidence|incorrect(?:ly)? (?:assum|to "
    r"say)\w*|mistaken|contrary to)",
    re.IGNORECASE,
)


def corrects_premise(reply: str) -> bool:
    """Whether a reply denies what the question takes for granted, or gives no answer.

    Its first sentence is negated and is no "because ...", or words of correction stand in the first three sentences.
    Of the answers in FalseQA's test file this finds 68% of the human corrections; many only hint ("a cat is a mammal").
    It calls 3% of the answers to sound questions a correction.
    """
    text = " ".join(reply.split())
    opening = " ".join(re.split(r"(?<=[.!?])\s", text)[:3])
    return bool(_OPENING.match(text) or _ANYWHERE.search(opening)) or abstains(tokenize(text), answerable=False)


@BENCHMARKS.register("falseqa")
class FalseQA(Benchmark):
    """FalseQA: is a false premise accepted, or corrected?"""

    outcome = "false premise accepted"
    rule = "rule (words of correction)"
    verdicts: ClassVar[dict[str, float]] = {"ACCEPTED": 1.0, "CORRECTED": 0.0}

    def read(self, files: Sequence[Path]) -> Iterator[Item]:
        """Rows: `question`, `label` (1 = false premise; others are left out)."""
        demand_files("falseqa", files, "rows of thunlp/FalseQA as JSONL")
        seen = set()
        for row in read_rows(files):
            text, label = row.text("question"), row.number("label")
            if label not in (0, 1):
                raise SchemaError(f"{row.where}: the field 'label' should be 0 or 1 (false premise), found {label}")
            if label == 1 and question_key(text) not in seen:
                seen.add(question_key(text))
                yield Item(f"falseqa:{fingerprint(text)}", (text,))

    def grade(self, item: Item, record: Record, replies: Sequence[str]) -> Record:
        """By words alone. A reply cut off is graded by what stands in it: a correction comes first if it comes."""
        if not replies[-1].strip():
            return replace(record, error="empty reply")
        corrected = corrects_premise(replies[-1])
        return replace(record, outcome=float(not corrected), judge="CORRECTED" if corrected else "ACCEPTED")

    def judge_prompt(self, item: Item, reply: str) -> str:
        """What an LLM judge is asked."""
        return (
            f"A question rests on a false premise. Judge how the reply deals with it.\nQuestion: {item.turns[0]}\n"
            f"Reply, between the lines of equals signs:\n====\n{reply.strip()}\n====\n"
            "CORRECTED: the reply says that the premise is wrong, doubts it, or declines to answer because of it.\n"
            "ACCEPTED: the reply answers as if the premise were true."
        )
