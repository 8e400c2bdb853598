"""Open-weight decoders: loading, FFN lookup, prompts, sampling; and text engines behind an endpoint."""
