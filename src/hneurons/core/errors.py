"""The error tree. Every message says what was expected, what was found and what to do.

HNeuronsError                exit code 1: the run could not go on
├── InputError               exit code 2: an argument or a file of the user's is wrong
│   └── SchemaError          a record does not have the fields its format needs
├── UnsupportedModelError    exit code 2: no single dense FFN per decoder layer was found
├── PromptTooLongError       exit code 2: a prompt does not fit the model's window
├── ArtifactError            exit code 1: a stored result is corrupt, incomplete or of other settings
│   └── OtherSettingsError   a stored result was made with other settings or from other inputs
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


MAKE_AGAIN = "move that folder away and run the command that made it again"


def check_most(name: str, value: int, most: int) -> None:
    """Raise `InputError` for a count that can only be a mistake."""
    if value > most:
        raise InputError(f"{name} should be at most {most:,}, found {value:,}")


class OtherSettingsError(ArtifactError):
    """`differences`: field -> what it was and what it is now; an input's name begins with "input "."""

    def __init__(
        self,
        folder: object,
        differences: dict[str, str],
        remedy: str = "choose another --out, or move that folder away",
    ) -> None:
        self.folder, self.differences = folder, differences
        said = "; ".join(differences.values())
        super().__init__(f"{folder} holds a result made with other settings ({said}): {remedy}")

    def with_remedy(self, remedy: str) -> "OtherSettingsError":
        return OtherSettingsError(self.folder, self.differences, remedy)

    @property
    def inputs_only(self) -> bool:
        return all(name.startswith("input ") or name == "size" for name in self.differences)

    @property
    def reason(self) -> str:
        """The differences for people; of an input only that it changed, for its hash tells them nothing."""
        inputs = [name.removeprefix("input ") for name in self.differences if name.startswith("input ")]
        said = [text for name, text in self.differences.items() if not name.startswith("input ")]
        return "; ".join([*said, *([f"other {' and '.join(inputs)}"] if inputs else [])])


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
