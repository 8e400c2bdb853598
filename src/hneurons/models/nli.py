"""A classifier of natural language inference: does one text entail, contradict, or leave open another?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hneurons.core.errors import InputError, PromptTooLongError

LABELS = {"entail": "entailment", "contradict": "contradiction", "neutral": "neutral"}


def check_nli_model(model: str) -> None:
    """Raise `InputError` where a model is none that `NLIModel` takes, as far as its configuration tells."""
    from transformers import AutoConfig

    from hneurons.models.checkpoints import loading_errors

    with loading_errors(model):
        labels = AutoConfig.from_pretrained(model).id2label
    read_labels(labels, model)


class NLIModel:
    """Any sequence classifier of transformers whose labels name entailment and contradiction; others are neutral.

    Raises `InputError` where it cannot be loaded or has no such labels, in one sentence.
    """

    def __init__(self, model: str, *, device: str | None = None) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        from hneurons.models.checkpoints import loading_errors
        from hneurons.models.precision import choose_device

        self.device = choose_device(device)
        with loading_errors(model):
            self.tokenizer = AutoTokenizer.from_pretrained(model)
            self.model = AutoModelForSequenceClassification.from_pretrained(model).float().eval().to(self.device)
        self.name = Path(model).name if Path(model).expanduser().exists() else model
        self.relations = read_labels(self.model.config.id2label, self.name)

    def settings(self) -> dict[str, Any]:
        """What decides its answers: name, weights and labels."""
        from hneurons.models.identity import PIECE, digest_tensors

        pieces = {name: tensor.flatten().split(PIECE) for name, tensor in self.model.state_dict().items()}
        return {"nli": self.name, "weights": digest_tensors(pieces, threads=False), "labels": list(self.relations)}

    def length(self, premise: str, hypothesis: str) -> int:
        """Tokens of a pair of texts. Raises `PromptTooLongError` where they are more than the model reads."""
        tokens = len(self.tokenizer(premise, hypothesis)["input_ids"])
        longest = min(self.tokenizer.model_max_length, getattr(self.model.config, "max_position_embeddings", 1 << 30))
        if tokens > longest:
            raise PromptTooLongError(
                f"{premise[:40]!r}… and the text compared with it take {tokens} tokens, but {self.name} reads "
                f"{longest}: choose another NLI model, or shorter answers"
            )
        return tokens

    def classify(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """What the first text of each pair says about the second: entailment, neutral or contradiction."""
        import torch

        texts = [[premise for premise, _ in pairs], [hypothesis for _, hypothesis in pairs]]
        batch = self.tokenizer(*texts, padding=True, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            logits = self.model(**batch).logits
        return [self.relations[number] for number in logits.argmax(-1).tolist()]


def read_labels(id2label: dict[int, str], name: str) -> tuple[str, ...]:
    """The relation that each label of a classifier stands for, in order.

    Raises `InputError` without one label each for entailment and contradiction.
    """
    found = [str(id2label[number]) for number in sorted(id2label)]
    relations = tuple(
        next((relation for start, relation in LABELS.items() if label.casefold().startswith(start)), "neutral")
        for label in found
    )
    if relations.count("entailment") != 1 or relations.count("contradiction") != 1:
        raise InputError(
            f"'{name}' has the labels {', '.join(found)}: meanings need a model with one label for entailment and one "
            "for contradiction in its config.json (id2label)"
        )
    return relations
