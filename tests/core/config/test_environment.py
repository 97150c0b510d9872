"""Where published files are looked for."""

from pathlib import Path

import pytest

from recap_core.config.environment import vlm_bundle_dir, weights_dir


def test_the_bundle_is_a_weights_directory_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """``RECAP_WEIGHTS`` comes first; then the reference's own variable; else there is none."""
    monkeypatch.setenv("RECAP_WEIGHTS", "/weights")
    monkeypatch.setenv("OPENPI_VLM_CKPT_DIR", "/bundle")
    assert (weights_dir(), vlm_bundle_dir()) == (Path("/weights"), Path("/bundle"))
    monkeypatch.delenv("RECAP_WEIGHTS")
    assert weights_dir() == Path("/bundle")
    monkeypatch.delenv("OPENPI_VLM_CKPT_DIR")
    assert (weights_dir(), vlm_bundle_dir()) == (None, None)
