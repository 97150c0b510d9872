"""What an upload says of the place where something was made."""

import pytest

from recap_core.hub.privacy import public_manifest, without_paths
from recap_core.lineage.manifest import Manifest
from tests.generated_store import GeneratedStore


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ana/ckpt/29999", "29999"),
        ("~/ckpt/my-policy.v2/", "my-policy.v2"),
        ("imported from /data/lab/fold (openpi)", "imported from fold (openpi)"),
        ("'/mnt/a/b.model', '/mnt/a/c.model'", "'b.model', 'c.model'"),
        ("observation/state", "observation/state"),
        ("./mine and ../other/mine", "./mine and ../other/mine"),
        ("https://huggingface.co/lab/towels", "https://huggingface.co/lab/towels"),
        ("-(T-1-t)/T and 3/4/5", "-(T-1-t)/T and 3/4/5"),
        ("/joint_states", "/joint_states"),
    ],
)
def test_a_directory_becomes_its_last_name(text: str, expected: str) -> None:
    """Addresses, fractions and names with a slash are no directories."""
    assert without_paths(text) == expected


def test_paths_are_found_at_any_depth() -> None:
    """Keys and other values stay."""
    content = {"a": [1, None, {"/b/c": "/x/y/z"}], "d": True}

    assert without_paths(content) == {"a": [1, None, {"/b/c": "z"}], "d": True}


def test_a_public_manifest_names_no_host_and_no_directory(finished_rounds: GeneratedStore) -> None:
    """It is read as a manifest still, and recognised by its id."""
    private = next(finished_rounds.store.artifacts()).model_copy(
        update={
            "host": "anas-laptop",
            "config": {"policy": {"tokenizer": "/home/ana/gemma.model"}},
            "details": {"source": "/home/ana/ckpt/29999"},
        }
    )

    public = public_manifest(private)

    text = public.model_dump_json()
    assert "ana" not in text
    assert Manifest.model_validate_json(text) == public
    assert (public.id, public.digest, public.parents) == (
        private.id, private.digest, private.parents,
    )  # fmt: skip
    assert public.details["source"] == "29999"
