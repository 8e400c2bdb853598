"""The next token of each row, from the largest logits alone: temperature, then top-k, then top-p."""

from typing import NamedTuple

import torch
from torch import Tensor


class Candidates(NamedTuple):
    """What sampling needs of the logits: the top k of each row, sorted, and two sums over the vocabulary."""

    logits: Tensor  # float32 [rows, k]
    ids: Tensor  # int64 [rows, k]
    log_total: Tensor  # float32 [rows], the log of the sum of exponentials
    entropy: Tensor  # float32 [rows], in nats at temperature 1

    def at(self, rows: list[int]) -> "Candidates":
        return Candidates(*(part[rows] for part in self))


def top_candidates(logits: Tensor, top_k: int | None) -> Candidates:
    """logits: [rows, vocabulary]."""
    logits = logits.float()
    kept, ids = torch.topk(logits, min(top_k or logits.shape[-1], logits.shape[-1]), dim=-1)
    log_total = torch.logsumexp(logits, dim=-1)
    # Logits of -inf (tokens that are never drawn) have probability 0 and bring nothing.
    bounded = logits.clamp(min=torch.finfo(torch.float32).min)
    mean = (torch.softmax(logits, dim=-1) * bounded).sum(-1)
    return Candidates(kept, ids, log_total, log_total - mean)


def choose_tokens(candidates: Candidates, uniforms: Tensor, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """Next token of each row and its log-probability at temperature 1 over the whole vocabulary.

    uniforms: float64 [rows] in [0, 1). The distribution is that of temperature, then top-k, then top-p (the smallest
    set that reaches p); the k logits are already sorted, so the vocabulary never is.
    """
    kept, ids, log_total, _ = candidates
    if temperature == 0:
        return ids[:, 0], kept[:, 0] - log_total
    probabilities = torch.softmax(kept.double() / temperature, dim=-1)
    before = probabilities.cumsum(-1) - probabilities
    probabilities = torch.where(before < top_p, probabilities, 0.0)
    cumulative = probabilities.cumsum(-1)
    place = torch.searchsorted(cumulative, (uniforms * cumulative[:, -1])[:, None], right=True)
    place = torch.minimum(place, (probabilities > 0).sum(-1, keepdim=True) - 1)
    return ids.gather(1, place).squeeze(1), kept.gather(1, place).squeeze(1) - log_total
