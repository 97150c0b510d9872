"""Uploads to a hub on 127.0.0.1."""

import logging
from collections.abc import Generator
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars

from recap_core.errors import ConfigError, HubError, RecapError
from recap_core.hub.card_parts import CardOptions
from recap_core.hub.contents import HubContents, hub_contents
from recap_core.hub.push import Pushed, push
from recap_core.lineage.snapshot import Snapshot
from tests.generated_store import GeneratedStore
from tests.hub_server import OWNER, TOKEN, Hub, Repo, running_hub

REPO = f"{OWNER}/handover"

# huggingface_hub sends large files in a way that httpx calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Generator[Hub]:
    """An empty hub that takes large files by plain LFS."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with running_hub() as hub, disable_progress_bars():
        yield hub


@pytest.fixture(scope="module")
def uploads(finished_rounds: GeneratedStore) -> dict[str, HubContents]:
    """Contents by ref; read only."""
    store = finished_rounds.store
    snapshot = Snapshot(store)
    names = ("round-2-relabeled", "round-3-relabeled", "round-3-policy")
    return {
        name: hub_contents(snapshot, store.get(f"handover/aloha/{name}"), CardOptions(REPO))
        for name in names
    }


def pushed(hub: Hub, contents: HubContents, **options: Any) -> Pushed:  # noqa: ANN401 - any option
    """Upload with the right token."""
    return push(contents, REPO, endpoint=hub.address, **{"token": TOKEN, **options})


def everything(contents: HubContents) -> dict[str, bytes]:
    """Content by path."""
    return {name: path.read_bytes() for name, path in contents.files.items()} | dict(contents.texts)


def test_an_upload_is_one_commit_with_its_tags(
    hub: Hub, uploads: dict[str, HubContents], caplog: pytest.LogCaptureFixture
) -> None:
    """Every file is there, large ones through LFS; lerobot's tag and ours point to the commit."""
    caplog.set_level(logging.DEBUG)
    dataset = uploads["round-3-relabeled"]

    done = pushed(hub, dataset)

    repo = hub.repos[f"datasets/{REPO}"]
    assert done == Pushed(f"{hub.address}/datasets/{REPO}", repo.head, is_new=True, removed=())
    assert {k: v for k, v in repo.commits[repo.head].items() if k != ".gitattributes"} == (
        everything(dataset)
    )
    own_tag = f"round-3-relabeled-{dataset.artifact.id[:8]}"
    assert repo.tags == {"v3.0": repo.head, own_tag: repo.head}
    assert len(repo.commits) == 2  # the hub's own, and ours
    assert hub.large
    assert not repo.is_private
    assert TOKEN not in caplog.text


def test_the_same_upload_again_sends_nothing(hub: Hub, uploads: dict[str, HubContents]) -> None:
    """And an interrupted one goes on: large files that have arrived are not sent twice."""
    dataset = uploads["round-3-relabeled"]
    hub.broken = {"/commit/": 400}
    with pytest.raises(HubError, match=r"answered 400"):
        pushed(hub, dataset)
    num_sent = hub.num_requests("^PUT /large/")

    hub.broken = {}
    pushed(hub, dataset)
    again = pushed(hub, dataset)

    assert hub.num_requests("^PUT /large/") == num_sent > 0
    assert not again.is_new


def test_the_next_round_takes_the_place_of_the_last(
    hub: Hub, uploads: dict[str, HubContents]
) -> None:
    """Files that are no longer part of it go; lerobot's tag moves, the old one's stays."""
    old, new = uploads["round-2-relabeled"], uploads["round-3-relabeled"]
    more = old._replace(texts={**old.texts, "data/chunk-000/file-009.parquet": b"PAR1"})
    first = pushed(hub, more)

    second = pushed(hub, new)

    assert second.removed == ("data/chunk-000/file-009.parquet",)
    repo = hub.repos[f"datasets/{REPO}"]
    assert set(repo.commits[repo.head]) == {*everything(new), ".gitattributes"}
    assert repo.tags["v3.0"] == second.commit
    assert repo.tags[old.tags[1]] == first.commit


def test_a_policy_is_a_model_and_may_be_private(hub: Hub, uploads: dict[str, HubContents]) -> None:
    """It has no tag of lerobot's."""
    done = pushed(hub, uploads["round-3-policy"], private=True)

    repo = hub.repos[f"models/{REPO}"]
    assert done.url == f"{hub.address}/{REPO}"
    assert repo.is_private
    assert set(repo.tags) == {uploads["round-3-policy"].tags[0]}


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"weights.bin": b"1"}, {}, "1 files that recap did not put there, such as weights.bin"),
        ({"artifact.json": b"{}"}, {}, "did not put there, such as artifact.json"),
        (
            {"artifact.json": b'{"kind": "norm_stats"}'},
            {},
            "holds a norm_stats, and this is policy",
        ),
        ({}, {"private": True}, "is public, so --private would be ignored"),
    ],
)
def test_what_is_there_is_not_destroyed_or_shown(
    *,
    hub: Hub,
    uploads: dict[str, HubContents],
    files: dict[str, bytes],
    options: dict[str, bool],
    message: str,
) -> None:
    """Somebody's files, and what must not be public; nothing is sent."""
    repo = hub.repos[f"models/{REPO}"] = Repo(is_private=False)
    repo.add({".gitattributes": b"", **files})

    with pytest.raises(HubError, match=message):
        pushed(hub, uploads["round-3-policy"], **options)
    assert len(repo.commits) == 1
    assert hub.num_requests("preupload") == 0


def test_replace_takes_the_place_of_anything(hub: Hub, uploads: dict[str, HubContents]) -> None:
    """What was there stays in the history."""
    repo = hub.repos[f"models/{REPO}"] = Repo(is_private=False)
    before = repo.add({".gitattributes": b"", "weights.bin": b"1"})

    done = pushed(hub, uploads["round-3-policy"], replace=True)

    assert done.removed == ("weights.bin",)
    assert "weights.bin" in repo.commits[before]


@pytest.mark.parametrize(
    ("name", "token", "message"),
    [
        (REPO, "hf_wrong", "does not accept the token .*Log in again"),
        ("somebody/handover", TOKEN, "may not write to somebody/handover .*'somebody' is somebody"),
        ("handover", TOKEN, "names no owner. Write OWNER/NAME"),
        ("lab/hand over", TOKEN, "is no name on the hub"),
        ("lab/a/b", TOKEN, "is no name on the hub"),
    ],
)
def test_refusals_say_what_to_do(
    *,
    hub: Hub,
    uploads: dict[str, HubContents],
    name: str,
    token: str,
    message: str,
) -> None:
    """A wrong token, somebody else's name, and no name; the token is in no message."""
    with pytest.raises(RecapError, match=message) as caught:
        push(uploads["round-3-policy"], name, endpoint=hub.address, token=token)
    assert isinstance(caught.value, HubError | ConfigError)
    assert "hf_" not in str(caught.value)
    assert not hub.repos


def test_a_commit_of_somebody_else_meanwhile(hub: Hub, uploads: dict[str, HubContents]) -> None:
    """The hub refuses ours, and nothing of theirs is lost."""
    pushed(hub, uploads["round-3-policy"])
    hub.broken = {"/commit/": 412}
    changed = uploads["round-3-policy"]
    changed = changed._replace(texts={**changed.texts, "README.md": b"---\n---\n"})

    with pytest.raises(HubError, match=r"changed while it was uploaded.*Run it again"):
        pushed(hub, changed)


def test_metadata_that_the_hub_refuses(hub: Hub, uploads: dict[str, HubContents]) -> None:
    """A license that it does not know; nothing is sent before it is right."""
    policy = uploads["round-3-policy"]
    wrong = policy._replace(texts={**policy.texts, "README.md": b"---\nlicense: no-such\n---\n"})

    with pytest.raises(HubError, match=r"does not accept the card's metadata .*--license"):
        pushed(hub, wrong)
    assert hub.num_requests("preupload") == 0


def test_no_network(hub: Hub, uploads: dict[str, HubContents]) -> None:
    """Port 9 of this machine answers nobody."""
    with pytest.raises(
        HubError, match=r"upload to http://127.0.0.1:9 broke off .*Check the network"
    ):
        push(uploads["round-3-policy"], REPO, endpoint="http://127.0.0.1:9", token=TOKEN)
    assert not hub.requests


def test_offline_mode(
    hub: Hub, uploads: dict[str, HubContents], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever set it is told so."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(HubError, match=r"HF_HUB_OFFLINE is set"):
        pushed(hub, uploads["round-3-policy"])
