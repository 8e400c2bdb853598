"""Draw answers with llama.cpp's server, one thread, eight slots; the work comes as JSON on standard input.

Runs in the environment of the peers (`make bench-peers`). The processor time is that of drawing alone.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.request import Request, urlopen

import xllamacpp

SLOTS = 8


def main() -> None:
    asked = json.loads(sys.stdin.read())
    params = xllamacpp.CommonParams()
    params.model.path, params.n_parallel, params.warmup, params.verbosity = sys.argv[1], SLOTS, True, -1
    params.n_ctx = SLOTS * (max(map(len, asked["prompts"])) + asked["max_new_tokens"] + 8)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)

    def draw(work: tuple[list[int], int]) -> int:
        ids, seed = work
        body = {
            "prompt": ids,
            "n_predict": asked["max_new_tokens"],
            "temperature": asked["temperature"],
            "top_k": asked["top_k"],
            "top_p": asked["top_p"],
            "min_p": 0.0,
            "samplers": ["top_k", "top_p", "temperature"],
            "seed": seed,
            "cache_prompt": True,
        }
        headers = {"Content-Type": "application/json"}
        with urlopen(Request(server.listening_address + "/completion", json.dumps(body).encode(), headers)) as answer:
            return int(json.load(answer)["tokens_predicted"])

    work = [
        (ids, place * 1000 + sample) for place, ids in enumerate(asked["prompts"]) for sample in range(asked["samples"])
    ]
    start = time.process_time()
    with ThreadPoolExecutor(SLOTS) as pool:
        tokens = sum(pool.map(draw, work))
    print(json.dumps({"tokens": tokens, "seconds": time.process_time() - start}))


if __name__ == "__main__":
    main()
