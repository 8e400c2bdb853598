"""llama.cpp's own server inside the test's process, asked over HTTP for every token's log-probability."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import torch

from hneurons.models.gguf_conversion import open_gguf


class LlamaServer:
    """A running `llama-server`: its address, and the model it serves."""

    def __init__(self, address: str, vocabulary: int) -> None:
        self.address, self.vocabulary = address, vocabulary

    def post(self, path: str, **body: object) -> dict[str, object]:
        """What the server answers to a JSON request."""
        request = Request(self.address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urlopen(request, timeout=120) as answer:
            found: dict[str, object] = json.loads(answer.read())
        return found

    def next_logprobs(self, ids: list[int], **body: object) -> torch.Tensor:
        """Log-probabilities of all tokens after these ids, float32 [vocabulary], before any sampling.

        The reply repeats the last id: the server says nothing of a token that ends the text or a character begins.
        """
        asked = {"n_predict": 1, "n_probs": self.vocabulary, "logit_bias": [[ids[-1], 1e6]], "cache_prompt": False}
        said = self.post("/completion", prompt=ids, **asked, **body)
        found = torch.full((self.vocabulary,), torch.nan)
        for token in said["completion_probabilities"][0]["top_logprobs"]:  # type: ignore[index]
            found[token["id"]] = token["logprob"]
        assert not found.isnan().any()
        return found


@contextmanager
def serve(model: Path, vocabulary: int, *, lora: Path | None = None) -> Iterator[LlamaServer]:
    """`llama-server -m MODEL -fa off -ctk f32 -ctv f32 [--lora-scaled LORA:0]` on one thread and a free port."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.warmup = str(model), 128, 1, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    # A cache and an attention that round to float16 would alone cost 1e-3.
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.verbosity = -1
    if lora is not None:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(lora), 0.0)]
    server = xllamacpp.Server(params)
    try:
        yield LlamaServer(server.listening_address, vocabulary)
    finally:
        del server


def write_float32(source: Path, out: Path) -> Path:
    """A copy of a GGUF file with every tensor dequantised, which llama.cpp then computes in float32 throughout."""
    from gguf import GGUFValueType, GGUFWriter, dequantize

    reader = open_gguf(source)
    writer = GGUFWriter(out, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out
