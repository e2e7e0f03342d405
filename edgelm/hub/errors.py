"""The door through which errors of `huggingface_hub` and its HTTP client come in, and leave as edgelm's."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from edgelm.errors import EdgeLMError, NetworkError, NotFoundError, OutputError

_LOGIN = "if it is private, run `hf auth login` first"


@contextmanager
def hub_errors(repo: str, revision: str | None = None) -> Iterator[None]:
    """Translate everything that a call to the Hub can raise into an `EdgeLMError`.

    Raises:
        NotFoundError: no such repository, revision or file.
        NetworkError: the Hub cannot be reached, refuses, or answers nonsense.
        OutputError: the download cannot be written.
    """
    import httpx2
    from huggingface_hub.errors import HFValidationError

    try:
        yield
    except (httpx2.HTTPError, httpx2.InvalidURL, HFValidationError, OSError) as error:
        raise _translate(error, repo, revision) from error


def _translate(error: Exception, repo: str, revision: str | None) -> EdgeLMError:
    from huggingface_hub import constants, errors

    match error:
        case errors.GatedRepoError():
            return NetworkError(
                f"{repo} is gated: its owner grants access one by one",
                hint=f"accept the terms at {constants.ENDPOINT}/{repo}, then run `hf auth login`",
            )
        case errors.RevisionNotFoundError():
            return NotFoundError(f"{repo} has no revision {revision!r} on {constants.ENDPOINT}")
        case errors.RepositoryNotFoundError():
            return NotFoundError(f"no repository {repo} on {constants.ENDPOINT}", hint=_LOGIN)
        case errors.RemoteEntryNotFoundError():
            return NotFoundError(f"{repo} lacks a file that it lists: {error.request.url.path}")
        case errors.HfHubHTTPError():
            return _refused(error.response.status_code, repo)
        case errors.HFValidationError():
            return NotFoundError(f"{repo!r} is not a Hub id, expected organisation/name")
        case errors.OfflineModeIsEnabled():
            return NetworkError(
                f"{repo} is not in the cache and HF_HUB_OFFLINE forbids downloading it",
                hint="unset HF_HUB_OFFLINE, or name a model that is already here",
            )
        case errors.LocalEntryNotFoundError():
            return _unreachable(repo, "the connection failed")
        case OSError() if error.errno is not None:
            return _unwritable(error, repo)
    return _unreachable(repo, str(error) or type(error).__name__)


def _refused(status: int, repo: str) -> NetworkError:
    from huggingface_hub import constants

    hints = {401: _LOGIN, 403: _LOGIN, 429: "wait some minutes, or run `hf auth login` for a higher limit"}
    return NetworkError(
        f"{constants.ENDPOINT} answered {status} for {repo}",
        hint=hints.get(status, "try again later; what is downloaded is kept"),
    )


def _unreachable(repo: str, reason: str) -> NetworkError:
    from huggingface_hub import constants

    return NetworkError(
        f"{constants.ENDPOINT} cannot be reached for {repo}: {reason}",
        hint="check the connection and run it again: what is downloaded is kept",
    )


def _unwritable(error: OSError, repo: str) -> OutputError:
    where = error.filename or "the Hugging Face cache"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"the disk is full: {repo} cannot be written to {where}", hint=SPACE_HINT)
    return OutputError(f"{repo} cannot be written to {where}: {error.strerror}")


SPACE_HINT = "free some space, or set HF_HOME to a directory on a larger disk"
