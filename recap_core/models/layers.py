"""Running a stack of equal layers whose weights share leading axes."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax.sharding import NamedSharding

from recap_core.config.training import RematMode
from recap_core.sharding import split_over_devices

MAX_UNROLLED_DEPTH = 4
"""Stacks up to this depth are compiled layer by layer, and keep all activations."""


class LayerLoop(NamedTuple):
    """How a stack of layers is compiled; no option changes a number beyond float rounding."""

    remat: bool = False
    """Recompute each layer in the backward pass instead of keeping its activations."""
    unroll: bool = False
    """Compile the layers one by one instead of as a loop: faster for few small layers."""
    keep_dots: bool = False
    """With ``remat``: keep the results of products with weights, and recompute the rest."""
    split: NamedSharding | None = None
    """How the first axis of what passes from layer to layer is spread over devices."""

    @classmethod
    def of_depth(
        cls, depth: int, remat: RematMode = "auto", *, split: NamedSharding | None = None
    ) -> "LayerLoop":
        """The loop for a stack of ``depth`` layers.

        Args:
            depth: Of the stack.
            remat: ``none`` keeps all activations, ``full`` only those between layers, ``dots``
                also the products with weights; ``auto`` is ``none`` up to four layers, else
                ``full``.
            split: As the field.
        """
        if remat == "auto":
            remat = "none" if depth <= MAX_UNROLLED_DEPTH else "full"
        return cls(
            remat=remat != "none",
            unroll=depth <= MAX_UNROLLED_DEPTH,
            keep_dots=remat == "dots",
            split=split,
        )

    def scan[Carry, Layer, Output](
        self, layer: Callable[[Carry, Layer], tuple[Carry, Output]], carry: Carry, stacked: Layer
    ) -> tuple[Carry, Output]:
        """``carry, y = layer(carry, slice of stacked)`` along the leading axis; stacks the y."""

        def step(carry: Carry, weights: Layer) -> tuple[Carry, Output]:
            return layer(split_over_devices(carry, self.split), weights)

        if self.remat:
            policies = jax.checkpoint_policies
            step = jax.checkpoint(
                step,
                policy=policies.dots_with_no_batch_dims_saveable
                if self.keep_dots
                else policies.nothing_saveable,
                prevent_cse=self.unroll,  # a loop body is safe without
            )
        return jax.lax.scan(step, carry, stacked, unroll=self.unroll)
