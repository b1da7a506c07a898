"""Every error a person can meet.

    LingraftError
    ├── InputError             what was given is wrong; the command line exits with status 2
    │   ├── RecipeError        an option or a recipe key
    │   ├── CorpusError        a text, a bitext or a line of one
    │   ├── ModelError         a model folder or a tokenizer
    │   ├── TableError         a translation table, or one made for other tokenizers
    │   ├── OutputError        the output folder holds something else
    │   ├── RepositoryError    a repository of the hub: its name, who may see it, who may write there
    │   └── MissingExtraError  an optional package is not installed; the message has the pip line
    ├── RunError               the input was fine and the run failed; exit status 1
    │   └── SelfCheckError     a model that was written is not what it should be
    ├── StoppedError           a signal stopped the run, which can be resumed; exit status 128 + the signal's number
    └── LeaderError            of several processes, the leading one failed and has said why; its exit status

A message says what was given, what was expected and what to do, in one or two sentences.
"""

from __future__ import annotations


class LingraftError(Exception):
    """Base of all errors raised on purpose."""

    exit_status = 1


class InputError(LingraftError):
    """What was given is wrong."""

    exit_status = 2


class RecipeError(InputError):
    """An option or a recipe key is unknown, impossible or contradicts another."""


class CorpusError(InputError):
    """A text or bitext cannot be read or cannot be used."""


class ModelError(InputError):
    """A model folder or tokenizer cannot be read or is of a kind that is not supported."""


class TableError(InputError):
    """A translation table cannot be read or belongs to other tokenizers."""


class OutputError(InputError):
    """The output folder is in the way."""


class RepositoryError(InputError):
    """A repository of the Hugging Face hub cannot be written: its name, its visibility, or who is logged in."""


class MissingExtraError(InputError):
    """An optional package is needed and absent.

    what: wants the package, the beginning of the message. extra: of lingraft, which pip installs.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional package. Install it with: pip install 'lingraft[{extra}]'")


class RunError(LingraftError):
    """The run failed although its input was fine."""


class SelfCheckError(RunError):
    """A model that was just written does not load back as it was."""


class StoppedError(LingraftError):
    """A run was asked to stop by a signal and did, with everything saved.

    message: what people read. signal_number: which one, as in the module `signal`; the exit status is what a shell
    expects of it.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_status = 128 + signal_number


class LeaderError(LingraftError):
    """Of the processes that work on a run the leading one ended with an error, and so does this one.

    message: what it died of.

    It is the leader that tells people why. exit_status: the leader's.
    """

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def in_one_line(error: Exception) -> str:
    """The type of another library's error and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
