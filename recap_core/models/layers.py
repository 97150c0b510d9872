"""Running a stack of equal layers whose weights share leading axes."""

from collections.abc import Callable
from typing import NamedTuple

import jax


class LayerLoop(NamedTuple):
    """How a stack of layers is compiled; no option changes a number."""

    remat: bool = False
    """Recompute each layer in the backward pass instead of keeping its activations."""
    unroll: bool = False
    """Compile the layers one by one instead of as a loop: faster for few small layers."""

    def scan[Carry, Layer, Output](
        self, layer: Callable[[Carry, Layer], tuple[Carry, Output]], carry: Carry, stacked: Layer
    ) -> tuple[Carry, Output]:
        """``carry, y = layer(carry, slice of stacked)`` along the leading axis; stacks the y."""
        if self.remat:
            layer = jax.checkpoint(
                layer,
                policy=jax.checkpoint_policies.nothing_saveable,
                prevent_cse=self.unroll,  # a loop body is safe without
            )
        return jax.lax.scan(layer, carry, stacked, unroll=self.unroll)
