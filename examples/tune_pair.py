"""Make a pair of checkpoints, before and after tuning, for `hneurons origin`: some minutes on a CPU.

All weights of a small model are fine-tuned on a few hundred rows of instructions, which leaves every feed-forward
weight a little changed, and the result is saved as a folder that `--model` takes:

    python examples/tune_pair.py --out tuned
    hneurons run --model tuned --questions facts --limit 1600 ... --out my-run
    hneurons origin my-run --base smollm2-135m

The rows are JSONL objects with `prompt` and `response`; without a file they are built-in facts answered briefly, and
questions about invented things answered "I don't know.". No question that a run on `facts --limit 1600` asks is
among them: an answer learned by heart would tell nothing.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any, NamedTuple

import torch

from hneurons.answers.questions import load_questions, question_key
from hneurons.answers.questions.few_shot import FEW_SHOT
from hneurons.core.errors import SchemaError
from hneurons.core.progress import enable_progress, progress
from hneurons.models.language_model import LanguageModel, load_model
from hneurons.models.prompts import PromptStyle

Row = tuple[str, str]
"""(prompt, response)."""


class Encoded(NamedTuple):
    ids: list[int]
    answer: int
    """Where the response begins: only its tokens are learned."""


def default_rows(*, facts: int, invented: int, asked: int, avoid: list[str]) -> list[Row]:
    """Facts with their first known answer and invented things with none, nothing that is asked elsewhere.

    `asked` facts, the first in the order in which runs with seed 0 take them, are left out in whatever words they are
    asked, and so are the questions of the sets in `avoid`.
    """
    known = load_questions("facts")
    taken = {question_key(q.text) for q in known[:asked]} | {question_key(text) for text, _ in FEW_SHOT}
    taken |= {question_key(q.text) for spec in avoid for q in load_questions(spec)}
    facts_asked = {q.group for q in known[:asked]}
    free = [q for q in known[asked:] if question_key(q.text) not in taken and q.group not in facts_asked]
    rows = [(q.text, q.answers[0]) for q in free[:facts]]
    made_up = [q.text for q in load_questions("invented", seed=1) if question_key(q.text) not in taken]
    return rows + [(text, "I don't know.") for text in made_up[:invented]]


def read_rows(path: Path) -> list[Row]:
    """Rows of a JSONL file. Raises `SchemaError` naming the line without prompt or response."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            rows.append((str(row["prompt"]), str(row["response"])))
        except (ValueError, KeyError, TypeError) as error:
            raise SchemaError(f"{path}, line {number}, is no object with 'prompt' and 'response' ({error})") from error
    return rows


def encode_row(model: LanguageModel, row: Row) -> Encoded:
    prompt = model.encode(row[0], PromptStyle())
    response = model.tokenizer(row[1], add_special_tokens=False)["input_ids"]
    return Encoded([*prompt, *response, model.tokenizer.eos_token_id], len(prompt))


def batch_loss(model: Any, batch: list[Encoded]) -> torch.Tensor:
    """Mean cross-entropy over the tokens of the responses."""
    width = max(len(row.ids) for row in batch)
    ids, labels = torch.zeros(len(batch), width, dtype=torch.long), torch.full((len(batch), width), -100)
    for place, row in enumerate(batch):
        ids[place, : len(row.ids)] = torch.tensor(row.ids)
        labels[place, row.answer : len(row.ids)] = torch.tensor(row.ids[row.answer :])
    mask = torch.arange(width) < torch.tensor([len(row.ids) for row in batch])[:, None]
    loss: torch.Tensor = model(input_ids=ids, attention_mask=mask.long(), labels=labels).loss
    return loss


def tune(model: LanguageModel, rows: list[Row], *, epochs: int, batch_size: int, rate: float, seed: int) -> list[float]:
    """Fine-tune all weights with AdamW, in place; the loss of each step."""
    rng, encoded = random.Random(seed), [encode_row(model, row) for row in rows]
    steps = epochs * -(-len(encoded) // batch_size)
    optimiser = torch.optim.AdamW(model.model.parameters(), lr=rate, weight_decay=0.0)
    warm_up = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))
    )
    losses: list[float] = []
    model.model.train()
    with progress("tune", steps) as advance:
        for _ in range(epochs):
            rng.shuffle(encoded)
            for first in range(0, len(encoded), batch_size):
                loss = batch_loss(model.model, encoded[first : first + batch_size])
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(model.model.parameters(), 1.0)
                optimiser.step()
                optimiser.zero_grad()
                schedule.step()
                losses.append(loss.item())
                advance(1, f"loss {losses[-1]:.2f}")
    model.model.eval()
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the tuned checkpoint")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=Path, help="JSONL with prompt and response; default: built-in rows")
    parser.add_argument("--facts", type=int, default=200)
    parser.add_argument("--invented", type=int, default=24)
    parser.add_argument("--asked", type=int, default=1600, help="facts that a run asks: its --limit")
    parser.add_argument("--avoid", action="append", default=[], help="question set NAME:FILE that is also asked")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rate", type=float, default=3e-5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    enable_progress()
    torch.manual_seed(options.seed)
    rows = read_rows(options.rows) if options.rows else default_rows(
        facts=options.facts, invented=options.invented, asked=options.asked, avoid=options.avoid
    )  # fmt: skip
    model = load_model(options.model, device="cpu")
    losses = tune(
        model, rows, epochs=options.epochs, batch_size=options.batch_size, rate=options.rate, seed=options.seed
    )
    model.model.save_pretrained(options.out)
    model.tokenizer.save_pretrained(options.out)
    tenth = max(1, len(losses) // 10)
    first, last = sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth
    print(f"{len(rows)} rows, {len(losses)} steps, loss {first:.3f} -> {last:.3f}: {options.out}")


if __name__ == "__main__":
    main()
