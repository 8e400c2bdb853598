"""A tiny random NLI model on disk: structure without weights."""

from collections.abc import Sequence
from pathlib import Path

import torch
import transformers

from support.tiny_models import tiny_tokenizer

LABELS = ("CONTRADICTION", "Entailment", "neutral")


def save_tiny_nli(folder: Path, labels: Sequence[str] = LABELS) -> Path:
    """A BERT classifier with these labels, in `folder`."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=128, num_labels=len(labels), id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(10)
    model.save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = "<s>"
    tokenizer.save_pretrained(folder)
    return folder
