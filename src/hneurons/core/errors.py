"""The error tree. Every message says what was expected, what was found and what to do.

HNeuronsError                exit code 1: the run could not go on
├── InputError               exit code 2: an argument or a file of the user's is wrong
│   └── SchemaError          a record does not have the fields its format needs
├── UnsupportedModelError    exit code 2: no single dense FFN per decoder layer was found
├── PromptTooLongError       exit code 2: a prompt does not fit the model's window
├── ArtifactError            exit code 1: a stored result is corrupt, incomplete or of other settings
├── StorageError             exit code 1: writing failed (disk full, read-only); finished work is kept
├── EndpointError            exit code 1: a judge or model server did not answer
├── CaptureError             exit code 1: a hook did not fire exactly once, so measurements would be wrong
├── NotEnoughDataError       exit code 1: a class is empty or too small to go on
├── PluginError              exit code 1: another package offers something that cannot be used
└── MissingExtraError        exit code 2: an optional package is needed
"""


class HNeuronsError(Exception):
    exit_code = 1


class InputError(HNeuronsError):
    exit_code = 2


class SchemaError(InputError):
    pass


class UnsupportedModelError(HNeuronsError):
    exit_code = 2


class PromptTooLongError(HNeuronsError):
    exit_code = 2


class ArtifactError(HNeuronsError):
    pass


class StorageError(HNeuronsError):
    pass


class EndpointError(HNeuronsError):
    pass


class CaptureError(HNeuronsError):
    pass


class NotEnoughDataError(HNeuronsError):
    pass


class PluginError(HNeuronsError):
    pass


class MissingExtraError(HNeuronsError):
    exit_code = 2

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package '{package}': run  pip install 'hneurons[{extra}]'")
