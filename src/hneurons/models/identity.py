"""Who a model is, whether its weights are loaded or lie on disk."""

from collections.abc import Sequence
from typing import Any

from hneurons.core.seeds import fingerprint
from hneurons.core.types import ModelIdentity
from hneurons.models.checkpoints import tokenizer_hash
from hneurons.models.ffn import FFN

_UNSTABLE = ("transformers_version", "dtype", "torch_dtype", "use_cache", "name_or_path")


def build_identity(name: str, config: Any, ffns: Sequence[FFN], weights: str, tokenizer: Any) -> ModelIdentity:
    """The identity of the model with this transformers config; `weights` is the digest of its down-projections."""
    text = config.get_text_config(decoder=True).to_dict()
    shape_only = {k: v for k, v in text.items() if isinstance(v, int | float | str) and not k.startswith("_")}
    return ModelIdentity(
        name=name,
        architecture=str(text["model_type"]),
        layers=len(ffns),
        neurons=ffns[0].neurons,
        hidden_size=ffns[0].hidden_size,
        config=fingerprint({k: v for k, v in shape_only.items() if k not in _UNSTABLE}),
        tokenizer=tokenizer_hash(tokenizer),
        weights=weights,
    )
