"""A model's folder to the Hugging Face hub. Nothing else in the package sends anything anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .cache import CARD
from .errors import LingraftError, ModelError, OutputError, RepositoryError, RunError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

#: what a model folder may hold, by the ends of names
_MODEL_FILES = (".safetensors", ".json", ".txt", ".model", ".jinja")

#: and by whole names
_OTHER_FILES = (CARD, "LICENSE", "NOTICE")

#: weights that transformers and sentence-transformers would load, whoever put them there
_WEIGHTS = ("model*.safetensors", "model*.safetensors.index.json", "*/model*.safetensors")


@dataclass(frozen=True)
class PushResult:
    """A model on the hub. files: names of what the folder holds, relative to it; bytes: of all of them together.

    private: whether its owner alone sees the repository.
    """

    #: of the repository, for a browser
    url: str
    #: OWNER/NAME
    repo: str
    #: the commit, 40 hex digits
    commit: str
    private: bool
    files: tuple[str, ...]
    bytes: int


def push(
    directory: str | Path,
    repo: str,
    *,
    private: bool = True,
    source: bool = False,
    api: HfApi | None = None,
    on_progress: Callable[[str, float, str], None] | None = None,
) -> PushResult:
    """Uploads a model's folder to a repository of the Hugging Face hub, as one commit.

    directory: a run's folder, of which the new language's model goes up, or with ``source`` the English one; or any
    model folder. repo: OWNER/NAME, or NAME alone for one's own. private: a repository that has to be made is seen by
    its owner only; one that is there already has to be as private as this says. api: a `huggingface_hub.HfApi` with
    another address or token than those of the environment. on_progress: called with ``push``, the share that is done (0
    or 1) and a note for people.

    Files are safetensors, JSON and text; anything else in the folder is refused before the hub is asked. Weights of an
    earlier push that the folder has no more are taken out of the repository. Until the commit, which is the last step,
    nothing of it changes. Raises ModelError for the folder, OutputError for a run that is not finished, RepositoryError
    for what concerns the repository or the login, RunError where the hub cannot be reached or fails.
    """
    folder = _model_folder(Path(directory), source)
    files = _files(folder)
    with _told(repo):
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

        api = api or HfApi()
        if not (api.token or get_token()):
            raise RepositoryError(
                "You are not logged in to the Hugging Face hub: run `hf auth login`, or put a token that may write "
                "there into the environment variable HF_TOKEN."
            )
        repo = repo if "/" in repo else f"{api.whoami()['name']}/{repo}"
        stale = _prepared(api, repo, private, files)
        size = sum((folder / name).stat().st_size for name in files)
        tell = on_progress or (lambda _stage, _share, _note: None)
        tell("push", 0.0, f"{len(files):,} files, {size / 1e6:,.1f} MB to {repo}")
        adding = [CommitOperationAdd(name, folder / name) for name in files]
        removing = [CommitOperationDelete(name) for name in stale]
        commit = api.create_commit(
            repo, [*adding, *removing], commit_message="Upload a model grafted by lingraft", repo_type="model"
        )
        tell("push", 1.0, repo)
        return PushResult(f"{api.endpoint}/{repo}", repo, commit.oid, private, tuple(files), size)


def _model_folder(directory: Path, source: bool) -> Path:
    """The folder of the model that is meant: the one given, or one of a run's; see `push`."""
    which = "source" if source else "target"
    if not directory.is_dir():
        raise ModelError(f"'{directory}' is no folder; the folder of a run or of a model was expected.")
    if (directory / "recipe.yaml").is_file():
        try:
            done = json.loads((directory / "run.json").read_text(encoding="utf-8"))["status"] == "done"
        except (OSError, ValueError, KeyError, TypeError):
            done = False
        if not done:
            raise OutputError(f"The run in '{directory}' is not finished. Go on with: lingraft resume {directory}")
        several = sorted(path.parent for path in directory.glob("*/target"))
        if several and not source:
            raise ModelError(
                f"The run in '{directory}' has several languages; give one of them: "
                f"{', '.join(str(path) for path in several)}."
            )
    if (directory / which).is_dir():
        return directory / which
    if source or not any((directory / name).is_file() for name in ("config.json", "modules.json")):
        raise ModelError(f"'{directory}' has no {which}/ and is no model folder; give the folder of a finished run.")
    return directory


def _files(folder: Path) -> list[str]:
    """The names of all files of a model folder, hidden ones left out; ModelError where one is no part of a model."""
    names, strange = [], []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts):
            continue
        allowed = path.name in _OTHER_FILES or path.suffix in _MODEL_FILES
        if path.is_symlink() or not (path.is_dir() or (path.is_file() and allowed)):
            strange.append(relative.as_posix())
        elif path.is_file():
            names.append(relative.as_posix())
    if strange:
        raise ModelError(
            f"'{folder}' holds what is no part of a model in safetensors, and is not uploaded: {', '.join(strange[:5])}"
            f"{f' and {len(strange) - 5} more' if len(strange) > 5 else ''}. Pickles, code and links are refused; take "
            "them out of the folder first."
        )
    if not any(name.endswith(".safetensors") for name in names):
        raise ModelError(f"'{folder}' has no weights: no .safetensors file was found.")
    return names


def _prepared(api: HfApi, repo: str, private: bool, files: Sequence[str]) -> list[str]:
    """Makes the repository where there is none, and gives the weights in it that are to go."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        there = api.model_info(repo)
    except RepositoryNotFoundError:
        api.create_repo(repo, private=private, repo_type="model")
        return []
    if bool(there.private) != private:
        now, other = ("private", "--private") if there.private else ("public", "--public")
        raise RepositoryError(
            f"The repository '{repo}' is there already, and is {now}. Say {other} to upload there as it is, give "
            "another --repo, or change it in its settings on the hub first."
        )
    names = [sibling.rfilename for sibling in there.siblings or ()]
    return [name for name in names if name not in files and any(Path(name).match(pattern) for pattern in _WEIGHTS)]


@contextmanager
def _told(repo: str) -> Iterator[None]:
    """What goes wrong with the hub becomes an error that says whose it is, in one line."""
    try:
        yield
    except LingraftError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename:  # of a file here, and told as such
            raise
        while isinstance(error.__cause__, Exception) and type(error) is RuntimeError:  # "while uploading ..."
            error = error.__cause__
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if isinstance(error, HFValidationError):
            raise RepositoryError(f"'{repo}' is no name of a repository: {reason}") from None
        if isinstance(error, OfflineModeIsEnabled):
            raise RepositoryError("HF_HUB_OFFLINE is set, so the hub is not to be reached; unset it to push.") from None
        if isinstance(error, HfHubHTTPError):
            status = error.response.status_code
            if status == 401:
                raise RepositoryError(
                    f"The hub does not take your token for '{repo}' ({reason}). Log in again: hf auth login"
                ) from None
            if status in (403, 404):
                raise RepositoryError(
                    f"You may not write to '{repo}' with the token you have ({reason}). It needs the right to write "
                    "there; see https://huggingface.co/settings/tokens."
                ) from None
            raise RunError(f"The hub could not take the model for '{repo}' ({reason}). Try again later.") from None
        raise RunError(
            f"The model could not be uploaded to '{repo}' ({type(error).__name__}: {reason}). Is the network there?"
        ) from None
