"""Random changes of training images, as openpi makes them (OPENPI_CONTRACT §6).

Views that are not on a wrist are cropped, scaled back and rotated; all views change their
brightness, contrast and hue. openpi leaves this to augmax 0.4.1. The formulas, the order and the
use of random keys are the same here, so equal keys give equal images; what augmax computes and
throws away (its saturation) is left out.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, PRNGKeyArray

from recap_core.config.training import AugmentConfig
from recap_core.models.policy import PolicyInputs
from recap_core.models.value_model import ValueInputs


def augment_inputs[I: (PolicyInputs, ValueInputs)](
    step_key: PRNGKeyArray, inputs: I, config: AugmentConfig | None
) -> I:
    """Augment what a model sees; None leaves it as it is.

    Args:
        step_key: Key of the training step; the first of its three children is used. openpi draws
            noise and times from the other two.
        inputs: A batch.
        config: How much.
    """
    if config is None or not inputs.images:
        return inputs
    key = jax.random.split(step_key, 3)[0]
    return inputs._replace(images=augment_images(key, inputs.images, config))


def augment_images(
    key: PRNGKeyArray, images: Mapping[str, Float[Array, "b h w 3"]], config: AugmentConfig
) -> dict[str, Float[Array, "b h w 3"]]:
    """Augment every view of a batch.

    A sample has one key for all of its views, so two wrist cameras change colour alike.

    Args:
        key: Of this step.
        images: View to pixels in [-1, 1].
        config: How much.

    Returns:
        Images of the same sizes; a few values may lie outside [-1, 1] by rounding.
    """
    return {view: _view(key, view, pixels, config) for view, pixels in images.items()}


def _view(
    key: PRNGKeyArray, view: str, pixels: Float[Array, "b h w 3"], config: AugmentConfig
) -> Float[Array, "b h w 3"]:
    def sample(key: PRNGKeyArray, image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        if "wrist" in view:
            (color_key,) = jax.random.split(key, 1)
        else:
            geometry_key, color_key = jax.random.split(key)
            image = _moved(geometry_key, image, config)
        return _recolored(jax.random.split(color_key, 1)[0], image, config)

    keys = jax.random.split(key, len(pixels))
    return 2 * jax.vmap(sample)(keys, (pixels + 1) / 2) - 1


def _moved(
    key: PRNGKeyArray, image: Float[Array, "h w 3"], config: AugmentConfig
) -> Float[Array, "h w 3"]:
    """A random crop, scaled back to the image's size, turned, black where nothing was seen."""
    crop_key, _, turn_key = jax.random.split(key, 3)
    size = jnp.array(image.shape[:2])
    crop = jnp.array([int(length * config.crop) for length in image.shape[:2]])
    limit = (size - crop) / 2
    center = jax.random.uniform(crop_key, (2,), minval=-limit, maxval=limit)
    most = math.radians(config.rotate_deg)
    angle = jax.random.uniform(turn_key, (), minval=-most, maxval=most)
    return moved_image(image, center, crop / size, angle)


def moved_image(
    image: Float[Array, "h w 3"],
    center: Float[Array, " yx"],
    scale: Float[Array, " yx"],
    angle: Float[Array, ""],
) -> Float[Array, "h w 3"]:
    """The image as seen through a smaller, turned window, interpolated linearly.

    A pixel of the result at p = (y, x) from its middle shows the source at

        center + scale * R p        R = [[cos a, sin a], [-sin a, cos a]]

    Args:
        image: The source.
        center: Middle of the window, pixels from the middle of the source.
        scale: Size of the window as a share of the source's.
        angle: a, radians.
    """
    height, width, _ = image.shape
    y = (jnp.arange(height) - (height - 1) / 2)[:, None]
    x = (jnp.arange(width) - (width - 1) / 2)[None, :]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    source_y = center[0] + scale[0] * (cos * y + sin * x) + (height - 1) / 2
    source_x = center[1] + scale[1] * (cos * x - sin * y) + (width - 1) / 2

    def channel(values: Float[Array, "h w"]) -> Float[Array, "h w"]:
        return map_coordinates(values, [source_y, source_x], order=1, mode="constant", cval=0.0)

    return jax.vmap(channel, in_axes=-1, out_axes=-1)(image)


def _recolored(
    key: PRNGKeyArray, image: Float[Array, "h w 3"], config: AugmentConfig
) -> Float[Array, "h w 3"]:
    # Five keys, of which openpi's library leaves the last two without effect.
    keys = jax.random.split(key, 5)
    amounts = [
        jax.random.uniform(keys[i], (), minval=-most, maxval=most)
        for i, most in enumerate((config.brightness, config.contrast, config.hue))
    ]
    is_changed = jax.random.bernoulli(key, config.color_share)
    return jnp.where(is_changed, recolored_image(image, *amounts), image)


def recolored_image(
    image: Float[Array, "h w 3"],
    brightness: Float[Array, ""],
    contrast: Float[Array, ""],
    hue: Float[Array, ""],
) -> Float[Array, "h w 3"]:
    """Change the value (the largest channel) of every pixel, then its hue; saturation stays.

    Args:
        image: Pixels in [0, 1].
        brightness: b in (-1, 1): v becomes v (1 + b) if b < 0, else v (1 - b) + b.
        contrast: c in (-1, 1): slope tan((1 + c) pi / 4) around one half, its inverse near 0 and 1.
        hue: Turns of the colour circle.
    """
    value = jnp.max(image, axis=-1)
    spread = value - jnp.min(image, axis=-1)
    saturation = jnp.where(value == 0, 0.0, spread / jnp.where(value == 0, 1.0, value))
    angle = _hue(image, spread) + hue
    value = _with_contrast(_with_brightness(value, brightness), contrast)
    sector = jnp.mod(jnp.array([5.0, 3.0, 1.0])[None, None] + 6 * angle[..., None], 6)
    part = jnp.clip(jnp.minimum(sector, 4 - sector), 0, 1)
    return value[..., None] * (1 - saturation[..., None] * part)


def _hue(image: Float[Array, "h w 3"], spread: Float[Array, "h w"]) -> Float[Array, "h w"]:
    """Position on the colour circle in turns: red 0, green 1/3, blue 2/3; grey is 0."""
    largest = jnp.argmax(image, axis=-1)

    def channel(offset: int) -> Float[Array, "h w"]:
        index = jnp.mod(largest + offset, 3)[..., None]
        return jnp.take_along_axis(image, index, axis=-1)[..., 0]

    safe = jnp.where(spread == 0, 1.0, spread)
    turns = (2 * largest + (channel(1) - channel(2)) / safe) / 6
    return jnp.where(spread == 0, 0.0, turns)


def _with_brightness(value: Float[Array, "h w"], amount: Float[Array, ""]) -> Float[Array, "h w"]:
    return jnp.where(amount < 0, value * (1 + amount), value * (1 - amount) + amount)


def _with_contrast(value: Float[Array, "h w"], amount: Float[Array, ""]) -> Float[Array, "h w"]:
    slope = jnp.tan((amount + 1) * (jnp.pi / 4))
    # Three lines that meet where their values agree, so that 0 and 1 stay where they are.
    low = slope / (2 * (1 + slope))
    middle = slope * (value - 0.5) + 0.5
    return jnp.where(
        value < low,
        value / slope,
        jnp.where(value > 1 - low, (value - 1) / slope + 1, middle),
    )
