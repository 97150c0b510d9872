"""Random changes of training images."""

import colorsys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recap_core.config.training import AugmentConfig
from recap_core.transforms.augment import augment_images, moved_image, recolored_image

GOLDEN = Path(__file__).parents[2] / "golden/openpi/augment.npz"
VIEWS = BASE, LEFT, RIGHT = "base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"
AUGMENT = jax.jit(augment_images, static_argnums=2)
MOVE, RECOLOR = jax.jit(moved_image), jax.jit(recolored_image)


def picture(seed: int = 0, px: int = 20) -> jax.Array:
    """Six images, in [-1, 1]."""
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (6, px, px, 3)), jnp.float32)


def augmented(pixels: jax.Array, seed: int = 0, **changes: float) -> dict[str, np.ndarray]:
    """The same images in all views, augmented."""
    config, views = AugmentConfig.model_validate(changes), dict.fromkeys(VIEWS, pixels)
    return {v: np.asarray(a) for v, a in AUGMENT(jax.random.key(seed), views, config).items()}


def moved(
    image: np.ndarray,
    *,
    center: tuple[float, float] = (0.0, 0.0),
    scale: float = 1.0,
    angle: float = 0.0,
) -> np.ndarray:
    return np.asarray(
        MOVE(jnp.asarray(image), jnp.array(center), jnp.array([scale, scale]), jnp.array(angle))
    )


def recolored(
    image: np.ndarray, *, brightness: float = 0.0, contrast: float = 0.0, hue: float = 0.0
) -> np.ndarray:
    amounts = map(jnp.asarray, (brightness, contrast, hue))
    return np.asarray(RECOLOR(jnp.asarray(image), *amounts))


def test_images_are_those_that_openpi_trains_on() -> None:
    """The same keys make the same crops, turns and colours as augmax 0.4.1 under openpi."""
    golden = np.load(GOLDEN, allow_pickle=False)
    pixels = jnp.asarray(golden["image_uint8"], jnp.float32) / 255 * 2 - 1

    changed = augmented(pixels)

    np.testing.assert_allclose(changed[BASE], golden["base"], atol=2e-4)
    np.testing.assert_allclose(changed[LEFT], golden["wrist"], atol=2e-4)


def test_the_key_alone_decides() -> None:
    """The same key gives the same images, bit for bit; another key gives others."""
    first, again, other = (augmented(picture(), seed) for seed in (3, 3, 4))

    for view in VIEWS:
        np.testing.assert_array_equal(first[view], again[view])
        assert not np.allclose(first[view], other[view], atol=1e-2)


def test_nothing_asked_nothing_changed() -> None:
    """Without crop, rotation and colour the images come back."""
    for pixels in augmented(picture(), crop=1, rotate_deg=0, color_share=0).values():
        np.testing.assert_allclose(pixels, picture(), atol=1e-6)


def test_only_views_off_the_wrist_are_moved() -> None:
    """Crop and rotation alone leave wrist cameras as they are."""
    changed = augmented(picture(), color_share=0)

    np.testing.assert_allclose(changed[LEFT], picture(), atol=1e-6)
    assert not np.allclose(changed[BASE], picture(), atol=1e-2)


def test_both_wrists_change_colour_alike_and_samples_do_not() -> None:
    """One key per sample for all cameras."""
    same = jnp.repeat(picture()[:1], 6, axis=0)

    changed = augmented(same, color_share=1)

    np.testing.assert_array_equal(changed[LEFT], changed[RIGHT])
    assert len({sample.tobytes() for sample in changed[LEFT]}) == 6


def test_about_half_of_the_samples_change_colour() -> None:
    """The default share, give or take four standard errors."""
    pixels = picture()

    batches = [augmented(pixels, seed)[LEFT] for seed in range(70)]

    is_changed = (np.abs(np.stack(batches) - np.asarray(pixels)) > 1e-4).any((2, 3, 4))
    assert is_changed.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(420))


def test_crops_stay_inside_the_image() -> None:
    """A white picture stays white; only the outermost pixels may mix with the black outside."""
    white = jnp.ones((6, 20, 20, 3))

    for seed in range(10):
        cropped = augmented(white, seed, rotate_deg=0, color_share=0)[BASE]
        np.testing.assert_allclose(cropped[:, 1:-1, 1:-1], 1.0, atol=1e-5)
        assert cropped.min() > 0


def test_a_shifted_window_by_hand() -> None:
    """One pixel down and two to the right; what was outside is black."""
    image = np.arange(1, 49, dtype=np.float32).reshape(4, 4, 3)

    shifted = moved(image, center=(1.0, 2.0))

    np.testing.assert_allclose(shifted[:3, :2], image[1:, 2:], atol=1e-5)
    assert (shifted[3] == 0).all()
    assert (shifted[:, 2:] == 0).all()


def test_half_a_window_is_twice_as_large() -> None:
    """A ramp seen through half its width climbs half as fast, around the same middle."""
    ramp = np.tile(np.arange(8, dtype=np.float32)[None, :, None], (8, 1, 3))

    zoomed = moved(ramp, scale=0.5)

    np.testing.assert_allclose(zoomed[4, :, 0], 3.5 + 0.5 * (np.arange(8) - 3.5), atol=1e-5)


def test_a_quarter_turn_by_hand() -> None:
    """90 degrees of our window turn the picture counter-clockwise."""
    image = np.asarray(picture(px=5)[0]) + 2

    turned = moved(image, angle=np.pi / 2)

    np.testing.assert_allclose(turned, np.rot90(image), atol=1e-4)


def test_a_turned_image_has_black_corners_and_an_unchanged_middle() -> None:
    """Five degrees take the corners out of view."""
    white = np.ones((21, 21, 3), np.float32)

    turned = moved(white, angle=np.deg2rad(5))

    corners = turned[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners < 0.5).all()
    np.testing.assert_allclose(turned[5:16, 5:16], 1.0, atol=1e-5)


def test_colours_are_those_of_the_standard_library() -> None:
    """Hue turned by 0.07 in HSV, pixel by pixel; grey and black pixels keep their colour."""
    image = (np.array(picture(px=4)[0]) + 1) / 2
    image[0, 0], image[0, 1] = 0.5, 0.0

    turned = recolored(image, hue=0.07)

    for pixel, found in zip(image.reshape(-1, 3), turned.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel.tolist())
        expected = colorsys.hsv_to_rgb((hue + 0.07) % 1, saturation, value)
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("amount", "expected"), [(0.3, 0.65), (-0.3, 0.35), (0.0, 0.5)])
def test_brightness_by_hand(amount: float, expected: float) -> None:
    """Half grey moves 30 % of the way to white or black."""
    grey = np.full((1, 1, 3), 0.5, np.float32)

    np.testing.assert_allclose(recolored(grey, brightness=amount), expected, atol=1e-6)


def test_contrast_keeps_black_grey_and_white() -> None:
    """Steeper in the middle, flat at the ends, never out of range; slope tan(67.5 deg) at 0.5."""
    shades = np.array([0.0, 0.1, 0.45, 0.5, 0.55, 0.9, 1.0], np.float32)
    image = np.repeat(shades[None, :, None], 3, axis=2)

    found = recolored(image, contrast=0.5)[0, :, 0]

    slope = np.tan(np.pi * 3 / 8)
    np.testing.assert_allclose(found[[0, 3, 6]], [0, 0.5, 1], atol=1e-6)
    np.testing.assert_allclose(found[[2, 4]], 0.5 + slope * np.array([-0.05, 0.05]), atol=1e-6)
    np.testing.assert_allclose(found[[1, 5]], [0.1 / slope, 1 - 0.1 / slope], atol=1e-6)
