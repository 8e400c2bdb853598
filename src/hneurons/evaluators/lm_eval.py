"""lm-evaluation-harness: its Hugging Face model under an intervention, as `--model hneurons`.

The harness finds models by name only where they were imported, so its command line is started from here:
`python -m hneurons.evaluators.lm_eval run --model hneurons --model_args pretrained=M,neurons=FOLDER,alpha=2 ...`
"""

import inspect
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from hneurons.core.errors import HNeuronsError, InputError, MissingExtraError
from hneurons.evaluators.steering import check_count, loading_errors, read_steering

if TYPE_CHECKING:
    from torch import Tensor

    from hneurons.interventions.intervention import Intervention

try:
    from lm_eval.api.registry import register_model
    from lm_eval.models.huggingface import HFLM
except ImportError as error:
    missing = MissingExtraError("lm-eval", "lm-eval", "lm-evaluation-harness")
    if __name__ == "__main__":
        sys.exit(str(missing))
    raise missing from error


@register_model("hneurons")
class HNeuronsLM(HFLM):  # type: ignore[misc]
    """The harness's own Hugging Face model, run under an intervention: log-likelihoods and generation alike.

    - `pretrained`: as `load_model` takes it: hub id, local folder, `.gguf` file or packaged model.
    - `neurons`: the folder of a run, a detector, a neuron set or a release, or a hub id.
    - `alpha`: the factor. Leave it and `neurons` out for the plain model.
    - `intervention`: from Python, any `Intervention` in their place.

    The other arguments are `HFLM`'s. Raises what `read_steering` raises, `UnsupportedModelError`, and `InputError` for
    other arguments, a model that cannot be loaded, and neurons of another model.
    """

    def __init__(
        self,
        pretrained: str = "",
        *,
        neurons: str | None = None,
        alpha: float | None = None,
        intervention: "Intervention | None" = None,
        revision: str = "main",
        dtype: str = "auto",
        device: str = "cuda",
        batch_size: int | str = 1,
        max_batch_size: int = 64,
        max_length: int | None = None,
        add_bos_token: bool | None = None,
        enable_thinking: bool | None = None,
        think_end_token: str | int | None = None,
        **unknown: object,
    ) -> None:
        from hneurons.interventions.steering import Steer
        from hneurons.models.checkpoints import resolve_checkpoint
        from hneurons.models.language_model import LanguageModel

        if unknown:
            parameters = inspect.signature(HNeuronsLM).parameters.values()
            known = ", ".join(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)
            raise InputError(f"unknown model argument '{next(iter(unknown))}': known are {known}")
        if not pretrained or not isinstance(pretrained, str):
            raise InputError("no model was named: give --model_args pretrained=MODEL")
        check_count("max_length", max_length)
        steered = read_steering(neurons, alpha, intervention)
        with loading_errors(pretrained):
            super().__init__(
                resolve_checkpoint(pretrained), revision=revision, dtype=dtype, device=device, batch_size=batch_size,
                max_batch_size=max_batch_size, max_length=max_length, add_bos_token=add_bos_token,
                enable_thinking=enable_thinking, think_end_token=think_end_token,
            )  # fmt: skip
        self.scaling: AbstractContextManager[object] = nullcontext()
        if steered is not None:
            with loading_errors(pretrained):
                guest = LanguageModel(self.model, self.tokenizer, name=pretrained)
            self.scaling = Steer(guest, steered.intervention)

    @classmethod
    def create_from_arg_obj(cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None) -> Any:
        """As the harness makes a model of its command line. Raises `InputError` for what is given in two places."""
        others = {name: value for name, value in (additional_config or {}).items() if value is not None}
        twice = [name for name in arg_dict if name in others]
        if twice:
            raise InputError(f"{twice[0]} is no part of --model_args: give it as --{twice[0]} {arg_dict[twice[0]]}")
        return super().create_from_arg_obj(arg_dict, additional_config)

    def _model_call(self, inps: "Tensor", attn_mask: "Tensor | None" = None, labels: "Tensor | None" = None) -> Any:
        with self.scaling:
            return super()._model_call(inps, attn_mask, labels)

    def _model_generate(self, context: "Tensor", max_length: int, stop: list[str], **generation_kwargs: Any) -> Any:
        with self.scaling:
            return super()._model_generate(context, max_length, stop, **generation_kwargs)


def main() -> None:
    """The harness's command line, with `hneurons` among its models; our errors are one sentence."""
    from lm_eval.__main__ import cli_evaluate

    try:
        cli_evaluate()
    except HNeuronsError as error:
        sys.stderr.write(f"hneurons: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
