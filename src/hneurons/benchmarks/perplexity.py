"""Perplexity on the user's own text: what scaling does to plain language modelling."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from hneurons.answers.questions.rows import read_rows
from hneurons.benchmarks.benchmark import BENCHMARKS, Benchmark, Item, demand_files
from hneurons.core.seeds import fingerprint


@BENCHMARKS.register("perplexity")
class Perplexity(Benchmark):
    """Own text: how many next tokens are predicted right, and perplexity (loglik of every text is recorded)."""

    outcome = "next tokens predicted right"
    rule = "the text itself"
    scores_text = True
    max_new_tokens = 512
    """Here: tokens of a text that are scored; the rest is left out."""

    def read(self, files: Sequence[Path]) -> Iterator[Item]:
        """Rows: `text`; the same text counts once."""
        demand_files("perplexity", files, "rows with the field 'text'")
        texts = dict.fromkeys(str(row.values["text"]).strip() for row in read_rows(files) if row.text("text"))
        for text in texts:
            yield Item(f"text:{fingerprint(text)}", (text,))
