"""FaithEval, counterfactual part (Ming et al. 2024, arXiv 2410.03727): a context that contradicts what is known."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from hneurons.answers.judges.choices import read_choice
from hneurons.answers.questions.rows import read_rows
from hneurons.benchmarks.benchmark import BENCHMARKS, Benchmark, Item, demand_files, unscored
from hneurons.core.errors import SchemaError
from hneurons.records.record import Record


@BENCHMARKS.register("faitheval")
class FaithEval(Benchmark):
    """FaithEval counterfactual, retrieval-QA prompt: is the context's wrong option taken?"""

    outcome = "compliance"
    rule = "option parser"
    prompt: ClassVar[str] = (
        "You are an expert in retrieval question answering.\nPlease respond with the exact answer only. Do not be "
        "verbose or provide extra information.\nContext: {context}\nQuestion: {question}\n{choices}\nAnswer:"
    )

    def read(self, files: Sequence[Path]) -> Iterator[Item]:
        """Rows: `id`, `question`, `context`, `choices{label, text}`, `answerKey` (the context's option)."""
        demand_files("faitheval", files, "rows of Salesforce/FaithEval-counterfactual-v1.0 as JSONL")
        for row in read_rows(files):
            options = row.row("choices")
            labels, texts = options.texts("label"), options.values.get("text")
            if not isinstance(texts, list) or len(texts) != len(labels):
                raise SchemaError(f"{options.where}: expected as many texts as labels {labels}, found {texts}")
            choices = {label: str(text) for label, text in zip(labels, texts, strict=True)}
            key = row.text("answerKey")
            if key not in choices:
                raise SchemaError(f"{row.where}: the field 'answerKey' is '{key}', no label of {', '.join(labels)}")
            shown = "\n".join(f"{label}) {text}" for label, text in choices.items())
            row.text("context")
            context = str(row.values["context"]).strip()  # with its line breaks
            prompt = self.prompt.format(context=context, question=row.text("question"), choices=shown)
            yield Item(row.text("id"), (prompt,), key=key, choices=choices)

    def grade(self, item: Item, record: Record, replies: Sequence[str]) -> Record:
        """Read the option strictly; a reply that names none is unscored, never resistance."""
        assert item.choices is not None
        reading = read_choice(replies[-1], item.choices)
        record = replace(
            record, choices=item.choices, key=item.key, parse=reading.outcome, choice=reading.label or "",
            judge=reading.method,
        )  # fmt: skip
        if reading.label is None:
            return unscored(record, "no option found")
        return replace(record, outcome=float(reading.label == item.key))


@BENCHMARKS.register("faitheval_own_knowledge")
class FaithEvalOwnKnowledge(FaithEval):
    """FaithEval counterfactual, prompt that asks to trust one's own knowledge where the context conflicts with it."""

    prompt = (
        "Context: {context}\n\nQuestion: {question}\n{choices}\n\nIf the context conflicts with established "
        "knowledge, answer based on your own knowledge. Answer with just the letter."
    )
