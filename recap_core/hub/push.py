"""Uploading to the hub, in one commit: a repository holds the old content or the new one.

Large files go first and are known to the hub by their digest, so the same command again sends only
what is missing. The token is read by ``huggingface_hub`` and never shown.
"""

import json
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from recap_core.errors import ConfigError, HubError
from recap_core.hub.contents import CARD_FILE, HubContents
from recap_core.lineage.layout import MANIFEST_FILE

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_THE_HUBS_OWN = {".gitattributes", CARD_FILE}
"""What a new repository may hold before anything is uploaded."""


class Pushed(NamedTuple):
    """An upload."""

    url: str
    """Page of the repository."""
    commit: str
    """Git commit that holds it."""
    is_new: bool
    """Whether the repository was made for it."""
    removed: tuple[str, ...]
    """Files of what was there before."""


class _There(NamedTuple):
    """A repository as it was found."""

    commit: str | None
    files: frozenset[str]
    is_private: bool


def check_repo(repo: str) -> None:
    """Raise ConfigError unless ``repo`` is OWNER/NAME as the hub allows it."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigError(f"{repo!r} is no name on the hub: {error}") from error
    if repo.count("/") != 1:
        raise ConfigError(f"{repo!r} names no owner. Write OWNER/NAME: you, or an organisation.")


def find_token() -> str:
    """``HF_TOKEN``, or what ``hf auth login`` has kept.

    Raises:
        HubError: If there is none.
    """
    from huggingface_hub import get_token

    token = get_token()
    if token is None:
        raise HubError(
            "there is no token for the hub. Log in with 'hf auth login', or set HF_TOKEN to a "
            "token with write permission (huggingface.co/settings/tokens)."
        )
    return token


def push(  # noqa: PLR0913 - what, where; the rest by name
    contents: HubContents,
    repo: str,
    *,
    token: str,
    private: bool = False,
    replace: bool = False,
    endpoint: str | None = None,
) -> Pushed:
    """Upload, and tag the commit.

    A repository that holds another upload of recap's, of the same kind, is updated: files that are
    not in the new one are removed, and stay in its history under the tag of the old one.

    Args:
        contents: What to upload.
        repo: OWNER/NAME; made if it does not exist.
        token: With write permission; see :func:`find_token`.
        private: Make it so that only its owner sees it; an existing one must be so already.
        replace: Also take the place of what is not recap's, or of another kind.
        endpoint: Address of the hub; None: ``HF_ENDPOINT`` or the public one.

    Raises:
        ConfigError: If ``repo`` is no such name.
        HubError: If the token may not write there, the repository holds something else, or the
            hub cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    check_repo(repo)
    api = HfApi(endpoint=endpoint, token=token, library_name="recap")
    with _saying_what_to_do(repo, api.endpoint):
        there = _look(api, repo, contents)
        _check(there, contents, repo, private=private, replace=replace, api=api)
        if there is None:
            api.create_repo(repo, repo_type=contents.repo_type, private=private or None)
        new = {**contents.files, **contents.texts}
        stale = sorted((there.files if there else frozenset()) - set(new) - _THE_HUBS_OWN)
        done = api.create_commit(
            repo,
            [
                *(
                    CommitOperationAdd(path, each if isinstance(each, bytes) else str(each))
                    for path, each in new.items()
                ),
                *(CommitOperationDelete(path) for path in stale),
            ],
            commit_message=contents.label,
            repo_type=contents.repo_type,
            parent_commit=there.commit if there else None,
        )
        for tag in contents.tags:
            _move_tag(api, repo, tag, done.oid, contents.repo_type)
    kind = "datasets/" if contents.repo_type == "dataset" else ""
    return Pushed(f"{api.endpoint}/{kind}{repo}", done.oid, there is None, tuple(stale))


def _look(api: "HfApi", repo: str, contents: HubContents) -> _There | None:
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        look = api.dataset_info if contents.repo_type == "dataset" else api.model_info
        info = look(repo)
    except RepositoryNotFoundError as error:
        if error.response.status_code == 401:
            raise  # a token that is not valid sees nothing
        return None
    files = frozenset(each.rfilename for each in info.siblings or ())
    return _There(info.sha, files, bool(info.private))


def _check(  # noqa: PLR0913 - what is there, what is wanted
    there: _There | None,
    contents: HubContents,
    repo: str,
    *,
    private: bool,
    replace: bool,
    api: "HfApi",
) -> None:
    """Raise HubError if the upload would show or destroy what it should not."""
    if there is None:
        return
    if private and not there.is_private:
        raise HubError(
            f"{repo} exists and is public, so --private would be ignored. Make it private on its "
            "page first, or choose another name."
        )
    others = sorted(there.files - _THE_HUBS_OWN)
    if replace or not others:
        return
    kind = _kind_there(api, repo, contents) if MANIFEST_FILE in there.files else None
    if kind is None:
        raise HubError(
            f"{repo} exists and holds {len(others)} files that recap did not put there, such as "
            f"{others[0]}. Choose another name, or remove them with --replace."
        )
    if not _is_successor(contents.artifact.kind, kind):
        raise HubError(
            f"{repo} holds a {kind}, and this is {contents.label}. Choose another name, or take "
            "its place with --replace."
        )


def _is_successor(kind: str, before: str) -> bool:
    """Whether an artifact may take another one's place: of datasets, any dataset's."""
    return kind == before or (kind.endswith("dataset") and before.endswith("dataset"))


def _kind_there(api: "HfApi", repo: str, contents: HubContents) -> str | None:
    """Kind of the artifact that the repository holds; None if its manifest is not ours."""
    with tempfile.TemporaryDirectory() as scratch:
        path = api.hf_hub_download(
            repo, MANIFEST_FILE, repo_type=contents.repo_type, local_dir=scratch
        )
        try:
            content: Any = json.loads(Path(path).read_text(encoding="utf-8"))
            return str(content["kind"])
        except (ValueError, KeyError, TypeError):
            return None


def _move_tag(api: "HfApi", repo: str, tag: str, commit: str, repo_type: str) -> None:
    from huggingface_hub.errors import RevisionNotFoundError

    with suppress(RevisionNotFoundError):
        api.delete_tag(repo, tag=tag, repo_type=repo_type)
    api.create_tag(repo, tag=tag, revision=commit, repo_type=repo_type)


@contextmanager
def _saying_what_to_do(repo: str, endpoint: str) -> Generator[None]:
    """Turn what the hub and the network answer into one HubError with the next step."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except HubError:
        raise
    except OfflineModeIsEnabled as error:
        raise HubError(
            f"HF_HUB_OFFLINE is set, so nothing is sent to {endpoint}. Unset it to upload."
        ) from error
    except Exception as error:
        if isinstance(error, ValueError) and "metadata in README.md" in str(error):
            raise HubError(
                f"the hub does not accept the card's metadata ({' '.join(str(error).split())}). "
                "Is --license one of its identifiers, such as cc-by-4.0 or apache-2.0?"
            ) from error
        answer = _cause(error, HfHubHTTPError)
        if answer is not None:
            raise HubError(_answered(answer, repo, endpoint)) from error
        if isinstance(error, httpx.TransportError | OSError | RuntimeError):
            said = " ".join(str(_cause(error, httpx.TransportError) or error).split())[:300]
            raise HubError(
                f"the upload to {endpoint} broke off ({type(error).__name__}: {said}). Check the "
                "network and HF_ENDPOINT, then run it again: what was sent is not sent twice."
            ) from error
        raise


def _cause[E: Exception](error: BaseException | None, kind: type[E]) -> E | None:
    while error is not None:
        if isinstance(error, kind):
            return error
        error = error.__cause__ or error.__context__
    return None


def _answered(error: Any, repo: str, endpoint: str) -> str:  # noqa: ANN401 - HfHubHTTPError
    status = error.response.status_code
    said = f" ({error.server_message})" if error.server_message else ""
    owner = repo.partition("/")[0]
    match status:
        case 401:
            return (
                f"{endpoint} does not accept the token{said}. Log in again with 'hf auth login', "
                "or set HF_TOKEN anew."
            )
        case 403 | 404:
            return (
                f"the token may not write to {repo}{said}. Use a token with write permission, and "
                f"an OWNER that it belongs to: {owner!r} is somebody else, or it was not granted."
            )
        case 409 | 412:
            return f"{repo} changed while it was uploaded{said}. Run it again."
        case _:
            return (
                f"{endpoint} answered {status}{said}. Run it again later: what was sent is not "
                "sent twice."
            )
