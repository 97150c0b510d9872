"""Settings of a robot's link to its policy server."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from recap_core.config.policy_link import PolicyLinkConfig
from recap_core.errors import ConfigError


def test_the_key_is_read_from_the_file_else_from_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without either none is sent; the settings themselves never hold it."""
    file = tmp_path / "key.txt"
    file.write_text("of-the-file\n")
    monkeypatch.delenv("RECAP_API_KEY", raising=False)
    monkeypatch.setenv("CELL_KEY", "of-the-cell\n")

    configs: list[dict[str, Any]] = [
        {},
        {"api_key_variable": "CELL_KEY"},
        {"api_key_variable": "CELL_KEY", "api_key_file": file},
    ]
    links = [PolicyLinkConfig.model_validate(config) for config in configs]

    assert [link.read_api_key() for link in links] == [None, "of-the-cell", "of-the-file"]
    assert "of-the" not in repr(links)


@pytest.mark.parametrize("content", [b"", b"two\nlines", b"\xff", None])
def test_a_key_that_is_none_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    """Empty, two lines, no text, no file: the error names the file and not what is in it."""
    file = tmp_path / "key.txt"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigError, match=r"key\.txt") as caught:
        PolicyLinkConfig(api_key_file=file).read_api_key()
    assert "two" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"host": "http://robot"}, "no ws:// or wss:// address"),
        ({"host": "wss://me:secret@robot"}, "api_key_file"),
        ({"host": "me@robot"}, "api_key_file"),
        ({"cameras": {"head": "image", "wrist": "image"}}, "two things as image"),
        ({"image_px": "small"}, "image_px"),
        ({"image_px": 0}, "image_px"),
        ({"adv_ind": "best"}, "adv_ind"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], told: str) -> None:
    """With what is wrong."""
    with pytest.raises(ValidationError, match=told):
        PolicyLinkConfig.model_validate(settings)


@pytest.mark.parametrize("host", ["10.0.0.5", "ws://gpu:8111", "wss://policies.lab/yam", "::1"])
def test_addresses(host: str) -> None:
    """Names, numbers and websocket URLs."""
    assert PolicyLinkConfig(host=host, cameras={"head": "images/cam_high"}, state=None).host == host
