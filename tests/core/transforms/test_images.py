from pathlib import Path

import numpy as np
import pytest

from recap_core.errors import DataError
from recap_core.transforms.images import resize_with_pad, to_model_range, to_uint8_hwc

GOLDEN = Path(__file__).parents[2] / "golden" / "openpi" / "images.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN, allow_pickle=False) as arrays:
        return dict(arrays)


def test_resizing_is_openpis_to_the_pixel(golden: dict[str, np.ndarray]) -> None:
    """Eight sizes, up and down, wide and tall, and a batch."""
    names = {name.split("/")[0] for name in golden if name.endswith("/client_pil_uint8")}
    assert len(names) == 9
    for name in names:
        source, expected = golden[f"{name}/in_uint8"], golden[f"{name}/client_pil_uint8"]
        batch = source if source.ndim == 4 else source[None]
        resized = resize_with_pad(batch, *expected.shape[-3:-1])
        np.testing.assert_array_equal(resized.reshape(expected.shape), expected, err_msg=name)


def test_an_image_of_the_right_size_is_untouched() -> None:
    """Nothing is copied or resampled where nothing has to be."""
    images = np.zeros((1, 8, 8, 3), np.uint8)

    assert resize_with_pad(images, 8, 8) is images


def test_floats_become_bytes_as_in_openpi(golden: dict[str, np.ndarray]) -> None:
    """255 x is truncated."""
    converted = to_uint8_hwc(golden["convert_to_uint8/in_float"][None], feature="camera")

    np.testing.assert_array_equal(converted[0], golden["convert_to_uint8/out"])


def test_bytes_become_model_inputs_as_in_openpi(golden: dict[str, np.ndarray]) -> None:
    """0 is -1, 255 is 1."""
    converted = to_model_range(golden["uint8_to_float/in"])

    np.testing.assert_allclose(converted, golden["uint8_to_float/out"], atol=1e-7)
    assert converted.dtype == np.float32


def test_channels_may_come_first() -> None:
    """(batch, 3, height, width) is what the wire carries."""
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)

    np.testing.assert_array_equal(
        to_uint8_hwc(np.moveaxis(images, -1, 1), feature="camera"), images
    )


@pytest.mark.parametrize(
    "images", [np.zeros((1, 4, 5, 4), np.uint8), np.zeros((1, 4, 5, 3), np.int32)]
)
def test_other_images_are_refused_by_name(images: np.ndarray) -> None:
    """Four channels or a wide integer: the camera is named."""
    with pytest.raises(DataError, match="head_camera"):
        to_uint8_hwc(images, feature="head_camera")
