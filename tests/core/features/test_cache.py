"""Tokens of frozen encoders, computed once for all who read them."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recap_core.data.frames import FrameTable
from recap_core.data.video import iter_camera_blocks
from recap_core.data.video_files import encode_video
from recap_core.data.video_places import frames_per_video
from recap_core.errors import DataError, EpisodeError
from recap_core.features.cache import FeatureCache
from recap_core.features.encoder import FrozenEncoder, encoder_digest
from recap_core.features.frozen import FrozenFeatures, frozen_features
from recap_core.models.value_model import ValueModel
from recap_core.transforms.images import to_model_range
from tests.core.features import filmed

CONFIG = filmed.config()
NUM_IMAGES = 92
ITEM_BYTES = 4 * 8 * 4
"""Four tokens of eight float32 numbers."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> FrameTable:
    return filmed.dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module")
def encoder() -> FrozenEncoder:
    return filmed.encoder(CONFIG)


def features(
    table: FrameTable, encoder: FrozenEncoder, cache: FeatureCache, num_uses: int | None = None
) -> FrozenFeatures | None:
    return frozen_features(table.meta, CONFIG.value, encoder, cache=cache, num_uses=num_uses)


def files(cache: FeatureCache) -> dict[str, int]:
    """Files of the cache, and when they were written."""
    return {p.name: p.stat().st_mtime_ns for p in cache.directory.glob("*.tokens")}


def test_tokens_are_those_of_the_images(
    table: FrameTable, encoder: FrozenEncoder, tmp_path: Path
) -> None:
    """What the model makes of the decoded frames, for frames in any order.

    Up to rounding: sums of a batch of another size may be taken in another order.
    """
    model, params = ValueModel(CONFIG.value.model), filmed.params(CONFIG)
    (block,) = iter_camera_blocks(table.meta, filmed.CAMERAS, image_px=filmed.PX)
    frames = np.random.default_rng(0).permutation(table.num_frames)
    seen = [to_model_range(block.images[camera][frames]) for camera in filmed.CAMERAS]
    pixels = dict(zip(filmed.VIEWS, [*seen, np.zeros_like(seen[0])], strict=True))
    expected = jax.jit(model.encode_views)(params, pixels)

    found = features(table, encoder, FeatureCache(tmp_path))

    assert found is not None
    tokens = found.at(frames)
    for view in filmed.VIEWS[:2]:
        np.testing.assert_allclose(tokens[view], expected[view], rtol=0, atol=3e-6)
    assert not tokens["right_wrist_0_rgb"].any()
    assert {view: mask.all() for view, mask in found.masks(3).items()} == dict(
        zip(filmed.VIEWS, (True, True, False), strict=True)
    )


def test_tokens_are_computed_once(
    table: FrameTable, encoder: FrozenEncoder, tmp_path: Path
) -> None:
    """A file per video; another object, and a caller that would not have paid for it, reads them.

    Eight videos of four episodes and two cameras, of which none has the content of another.
    """
    features(table, encoder, FeatureCache(tmp_path))
    before = files(FeatureCache(tmp_path))

    again = features(table, encoder, FeatureCache(tmp_path, budget_bytes=0), num_uses=0)

    assert again is not None
    assert files(FeatureCache(tmp_path)) == before
    assert len(before) == 8


def test_other_weights_have_other_tokens() -> None:
    """One number, the type of computation and the size of images count, the stored type not."""
    config, params = CONFIG.value.model, filmed.params(CONFIG)
    rounded = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    widened = jax.tree.map(lambda x: x.astype(jnp.float32), rounded)
    changed = jax.tree.map(jnp.copy, params)
    changed["img"]["pos_embedding"] = changed["img"]["pos_embedding"].at[0, 0, 0].add(1e-6)

    digests = [encoder_digest(config, p["img"]) for p in (params, rounded, widened, changed)]
    others = [config.model_copy(update={"image_px": 42}), config, config]
    others[1] = config.model_copy(update={"compute_dtype": "bfloat16"})
    recipes = {FrozenEncoder(other, params).recipe for other in others}

    assert digests[1] == digests[2]
    assert len(set(digests)) == 3
    assert len(recipes) == 3


def test_a_video_of_several_batches(encoder: FrozenEncoder, tmp_path: Path) -> None:
    """70 frames are two whole batches and one of 6; every frame has its own tokens and time."""
    shades = np.arange(70, dtype=np.uint8) * 3
    video = tmp_path / "long.mp4"
    encode_video((np.full((28, 28, 3), shade, np.uint8) for shade in shades), video, fps=10)
    cache = FeatureCache(tmp_path / "cache")

    (found,) = cache.prepare({video: 70}, encoder).values()

    np.testing.assert_allclose(found.times_s, np.arange(70) / 10)
    assert found.path.stat().st_size == 70 * (ITEM_BYTES + 8) + 40
    tokens = np.empty((70, *encoder.shape), encoder.dtype)
    for position, token in enumerate(tokens):
        found.read(position, token)
    assert len(np.unique(tokens.reshape(70, -1), axis=0)) == 70


class KilledError(Exception):
    """Stands for a kill."""


class KilledAfter:
    """A watcher that ends the work once so many images are done."""

    def __init__(self, num_images: int) -> None:
        self.num_images = num_images
        self.labels: list[str] = []

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator["KilledAfter"]:
        """Itself."""
        del total, done
        self.labels.append(label)
        yield self

    def update(self, done: int, note: str = "") -> None:
        """Raise, or not."""
        del note
        if done > self.num_images:
            raise KilledError


def test_a_killed_pass_continues(table: FrameTable, encoder: FrozenEncoder, tmp_path: Path) -> None:
    """Videos that were finished are not encoded again, and no draft is left."""
    videos = frames_per_video(table.meta, filmed.CAMERAS)
    cache, watcher = FeatureCache(tmp_path), KilledAfter(50)
    with pytest.raises(KilledError):
        cache.prepare(videos, encoder, progress=watcher)
    before = files(cache)
    assert 0 < len(before) < 8
    assert watcher.labels == ["encode 0.0 GB"]
    assert not list(tmp_path.glob(".*"))

    opened = cache.prepare(videos, encoder)

    assert {p.path.name for p in opened.values()} == set(files(cache))
    assert before.items() <= files(cache).items()
    assert len(files(cache)) == 8


def test_damaged_and_missing_files_are_made_again(
    table: FrameTable, encoder: FrozenEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A flipped bit is seen when the file is opened; a file may even vanish while it is read."""
    cache, frames = FeatureCache(tmp_path), np.arange(table.num_frames)
    first = features(table, encoder, cache)
    assert first is not None
    expected = first.at(frames)
    removed, flipped = sorted(cache.directory.glob("*.tokens"))[:2]
    flipped.chmod(0o644)
    content = bytearray(flipped.read_bytes())
    content[100] ^= 1
    flipped.write_bytes(content)
    removed.unlink()

    tokens = first.at(frames)  # opened before: it misses the removed file only
    assert removed.exists()
    with caplog.at_level(logging.WARNING):
        again = features(table, encoder, cache)
    assert again is not None

    assert "is damaged" in caplog.text
    for view, found in again.at(frames).items():
        np.testing.assert_array_equal(found, expected[view])
    assert tokens.keys() == expected.keys()


def test_more_than_the_budget_is_an_error_or_a_reason(
    table: FrameTable, encoder: FrozenEncoder, tmp_path: Path
) -> None:
    """Where tokens must be kept, the message says what they take; else they are not kept."""
    small = FeatureCache(tmp_path / "cache", budget_bytes=NUM_IMAGES * ITEM_BYTES - 1)

    with pytest.raises(DataError, match=r"92 images need 0\.0 GB.*feature_cache_gb.*recompute"):
        features(table, encoder, small)
    assert features(table, encoder, small, num_uses=1000) is None
    assert not small.directory.exists()


@pytest.mark.parametrize(("num_uses", "is_kept"), [(NUM_IMAGES, False), (NUM_IMAGES + 1, True)])
def test_tokens_are_kept_if_they_are_used_twice(
    table: FrameTable, encoder: FrozenEncoder, tmp_path: Path, num_uses: int, *, is_kept: bool
) -> None:
    """Encoding every image once must be less work than encoding what the batches hold."""
    assert (features(table, encoder, FeatureCache(tmp_path), num_uses) is not None) == is_kept


def test_a_damaged_video_is_named(encoder: FrozenEncoder, tmp_path: Path) -> None:
    """And leaves neither draft nor lock."""
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    cache = FeatureCache(tmp_path / "cache")

    with pytest.raises(EpisodeError, match=r"broken\.mp4"):
        cache.prepare({broken: 12}, encoder)

    assert list(cache.directory.iterdir()) == []
