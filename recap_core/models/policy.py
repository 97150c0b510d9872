"""The pi0 / pi0.5 / pi0.6 policy: observation and noise in, a chunk of actions out.

    prefix   image tokens of every view, then text tokens     VLM expert; all see each other
    suffix   [state token,] one token per noisy action        action expert; sees the prefix too
    v        action_out_proj(last action_horizon outputs)     velocity of the flow, see ``flow``

Flow time enters through adaRMS (pi0.5) or is joined to the action tokens (pi0). The parameter tree
and the numbers are openpi's wherever openpi has the configuration.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from recap_core.config.policy import PolicyModelConfig
from recap_core.models import flow
from recap_core.models.attention import block_causal_mask, token_positions
from recap_core.models.gemma import Context, Gemma, KeyValueCache, Streams
from recap_core.models.layers import LayerLoop
from recap_core.models.parameters import Params, dense, init_dense, normal
from recap_core.models.siglip import Siglip


class PolicyInputs(NamedTuple):
    """A batch of observations, ready for the model."""

    images: dict[str, Float[Array, "b height width 3"]]
    """View to pixels in [-1, 1]; exactly the configured views."""
    image_masks: dict[str, Bool[Array, " b"]]
    """False where a sample lacks the view."""
    state: Float[Array, "b s"]
    """Normalised, padded to the configured width; read only where ``state_input`` is
    ``continuous``."""
    tokens: Int[Array, "b l"]
    token_mask: Bool[Array, "b l"]


class FlowLoss(NamedTuple):
    """Training loss before any weighting."""

    squared_error: Float[Array, "b h"]
    """Mean over action dims of (v - u)^2; with a mask, over the dims that count, or 0."""
    time: Float[Array, " b"]
    """Flow time of each sample, in (0, 1]."""


class Tokens(NamedTuple):
    """Part of a token sequence."""

    embedded: Float[Array, "b t d"]
    valid: Bool[Array, "b t"]
    starts_block: Bool[Array, " t"]
    """Tokens that earlier tokens do not see."""


class EncodedPrefix(NamedTuple):
    """What sampling keeps of an observation."""

    cache: KeyValueCache
    valid: Bool[Array, "b p"]
    state: Float[Array, "b s"]


class Policy:
    """The policy as functions of a parameter tree; holds no arrays."""

    def __init__(self, config: PolicyModelConfig, *, loop: LayerLoop | None = None) -> None:
        """Describe the policy.

        Args:
            config: Architecture.
            loop: How the stacks of layers are compiled; None: as ``LayerLoop.of_depth`` says.
        """
        if loop is None:
            loop = LayerLoop.of_depth(config.vlm.depth)
        dtype = jnp.dtype(config.compute_dtype)
        self.config = config
        self.siglip = Siglip(
            config.siglip,
            image_px=config.image_px,
            out_dim=config.vlm.width,
            compute_dtype=dtype,
            loop=loop,
        )
        self.gemma = Gemma(
            config.vlm,
            config.expert,
            vocab_size=config.vocab_size,
            adaptive=config.time_input == "adarms",
            compute_dtype=dtype,
            loop=loop,
        )

    @property
    def state_width(self) -> int:
        """Dims of ``PolicyInputs.state``."""
        return self.config.state_dim or self.config.action_dim

    def init(self, key: PRNGKeyArray) -> Params:
        """Fresh float32 parameters; every part documents its own distribution."""
        width, action_dim = self.config.expert.width, self.config.action_dim
        keys = jax.random.split(key, 7)
        backbone: Params = {"llm": self.gemma.init(keys[0])}
        if self.config.views:
            backbone["img"] = self.siglip.init(keys[1])
        params: Params = {
            "PaliGemma": backbone,
            "action_in_proj": init_dense(keys[2], action_dim, width),
            "action_out_proj": init_dense(keys[3], width, action_dim),
        }
        if self.config.state_input == "continuous":
            params["state_proj"] = init_dense(keys[4], self.state_width, width)
        if self.config.time_input == "adarms":
            params["time_mlp_in"] = init_dense(keys[5], width, width)
            params["time_mlp_out"] = init_dense(keys[6], width, width)
        else:
            params["action_time_mlp_in"] = init_dense(keys[5], 2 * width, width)
            params["action_time_mlp_out"] = init_dense(keys[6], width, width)
        return params

    def flow_loss(  # noqa: PLR0913 - keyword-only options
        self,
        params: Params,
        key: PRNGKeyArray,
        inputs: PolicyInputs,
        actions: Float[Array, "b h a"],
        *,
        noise: Float[Array, "b h a"] | None = None,
        time: Float[Array, " b"] | None = None,
    ) -> FlowLoss:
        """Squared error of the velocity at a random time of each sample's flow.

        Args:
            params: Tree as ``init`` makes it, any float type.
            key: Source of noise and times, by openpi's recipe.
            inputs: Observations.
            actions: Normalised, padded targets.
            noise: Instead of a standard normal draw.
            time: Instead of a draw by ``flow.sample_times``.
        """
        drawn = flow.draw(key, actions.shape)
        drawn = flow.Draw(
            drawn.noise if noise is None else noise, drawn.time if time is None else time
        )
        return self.loss_of_draw(params, inputs, actions, drawn)

    def loss_of_draw(
        self,
        params: Params,
        inputs: PolicyInputs,
        actions: Float[Array, "b h a"],
        drawn: flow.Draw,
        *,
        action_mask: Bool[Array, "b h a"] | None = None,
    ) -> FlowLoss:
        """Squared error of the velocity at given times of each sample's flow.

        Args:
            params: Tree as ``init`` makes it, any float type.
            inputs: Observations.
            actions: Normalised, padded targets.
            drawn: Noise and times.
            action_mask: Which dims of which actions count; None: all.
        """
        noise, time = drawn
        velocity = self.velocity(params, inputs, flow.noisy_actions(actions, noise, time), time)
        squared = jnp.square(velocity - (noise - actions))
        if action_mask is None:
            return FlowLoss(jnp.mean(squared, axis=-1), time)
        mask = action_mask.astype(squared.dtype)
        num = jnp.maximum(jnp.sum(mask, axis=-1), 1.0)
        return FlowLoss(jnp.sum(squared * mask, axis=-1) / num, time)

    def sample_actions(  # noqa: PLR0913 - keyword-only options
        self,
        params: Params,
        key: PRNGKeyArray,
        inputs: PolicyInputs,
        *,
        num_steps: int,
        noise: Float[Array, "b h a"] | None = None,
        guidance: float = 1.0,
        unconditional: PolicyInputs | None = None,
    ) -> Float[Array, "b h a"]:
        """Actions for each observation, by Euler steps from noise.

        With guidance beta, both prompts go through the model in one batch and

            v = v_unconditional + beta * (v_conditional - v_unconditional)

        Args:
            params: Tree as ``init`` makes it, any float type.
            key: Source of the noise.
            inputs: Observations; the prompt carries the condition.
            num_steps: Euler steps, static under ``jax.jit``.
            noise: Instead of a standard normal draw.
            guidance: Beta, static; at 1 ``unconditional`` is not used.
            unconditional: The same observations without the condition in the prompt.

        Raises:
            ValueError: If ``guidance`` is not 1 and ``unconditional`` is None.
        """
        shape = (inputs.tokens.shape[0], self.config.action_horizon, self.config.action_dim)
        if noise is None:
            noise = normal(key, shape)
        guided = guidance != 1
        if guided:
            if unconditional is None:
                raise ValueError(f"guidance {guidance} needs unconditional inputs, got None")
            inputs = jax.tree.map(lambda *pair: jnp.concatenate(pair), inputs, unconditional)
        prefix = self.encode_prefix(params, inputs)

        def velocity(x: Float[Array, "b h a"], time: Float[Array, " b"]) -> Float[Array, "b h a"]:
            if not guided:
                return self.velocity_after(params, prefix, x, time)
            both = self.velocity_after(
                params, prefix, jnp.concatenate([x, x]), jnp.concatenate([time, time])
            )
            conditional, plain = jnp.split(both, 2)
            return plain + guidance * (conditional - plain)

        return flow.integrate(velocity, noise, num_steps=num_steps)

    def velocity(
        self,
        params: Params,
        inputs: PolicyInputs,
        noisy_actions: Float[Array, "b h a"],
        time: Float[Array, " b"],
    ) -> Float[Array, "b h a"]:
        """Velocity at ``noisy_actions``; prefix and suffix in one pass, as training wants it."""
        prefix = self.embed_prefix(params, inputs)
        suffix, condition = self.embed_suffix(params, inputs.state, noisy_actions, time)
        valid = jnp.concatenate([prefix.valid, suffix.valid], axis=1)
        starts_block = jnp.concatenate([prefix.starts_block, suffix.starts_block])
        context = Context(token_positions(valid), block_causal_mask(valid, starts_block), condition)
        streams = Streams(prefix.embedded, suffix.embedded)
        llm = params["PaliGemma"]["llm"]
        streams = self.gemma.forward(llm, streams, context, vlm_output=False)
        return self._read_velocity(params, streams)

    def encode_prefix(self, params: Params, inputs: PolicyInputs) -> EncodedPrefix:
        """Run the part that does not depend on the actions, once per observation."""
        prefix = self.embed_prefix(params, inputs)
        mask = block_causal_mask(prefix.valid, prefix.starts_block)
        context = Context(token_positions(prefix.valid), mask, None)
        streams = Streams(prefix.embedded, None)
        llm = params["PaliGemma"]["llm"]
        _, cache = self.gemma.encode(llm, streams, context, vlm_output=False)
        return EncodedPrefix(cache, prefix.valid, inputs.state)

    def velocity_after(
        self,
        params: Params,
        prefix: EncodedPrefix,
        noisy_actions: Float[Array, "b h a"],
        time: Float[Array, " b"],
    ) -> Float[Array, "b h a"]:
        """Velocity at ``noisy_actions``, given the encoded prefix."""
        suffix, condition = self.embed_suffix(params, prefix.state, noisy_actions, time)
        own = block_causal_mask(suffix.valid, suffix.starts_block)
        b, t, _ = own.shape
        seen = jnp.broadcast_to(prefix.valid[:, None, :], (b, t, prefix.valid.shape[1]))
        positions = jnp.sum(prefix.valid, axis=1, dtype=jnp.int32, keepdims=True)
        context = Context(
            positions + token_positions(suffix.valid),
            jnp.concatenate([seen, own], axis=2),
            condition,
        )
        streams = Streams(None, suffix.embedded)
        streams = self.gemma.forward(params["PaliGemma"]["llm"], streams, context, prefix.cache)
        return self._read_velocity(params, streams)

    def embed_prefix(self, params: Params, inputs: PolicyInputs) -> Tokens:
        """Image tokens of every view in the configured order, then text tokens: one block."""
        embedded, valid = [], []
        if self.config.views:
            b, views = inputs.tokens.shape[0], self.config.views
            # One pass over all views: a larger batch, the same numbers. A sample's views stay
            # side by side, so that a batch that is split over devices stays where it is.
            images = jnp.stack([inputs.images[view] for view in views], axis=1)
            images = images.reshape(-1, *images.shape[2:])
            tokens = self.siglip.tokens(params["PaliGemma"]["img"], images)
            embedded.append(tokens.reshape(b, -1, tokens.shape[-1]))
            shape = (b, self.siglip.num_tokens)
            valid.extend(
                jnp.broadcast_to(inputs.image_masks[view][:, None], shape) for view in views
            )
        embedded.append(self.gemma.embed(params["PaliGemma"]["llm"], inputs.tokens))
        valid.append(inputs.token_mask)
        joined = jnp.concatenate(embedded, axis=1)
        starts_block = jnp.zeros(joined.shape[1], dtype=bool)
        return Tokens(joined, jnp.concatenate(valid, axis=1), starts_block)

    def embed_suffix(
        self,
        params: Params,
        state: Float[Array, "b s"],
        noisy_actions: Float[Array, "b h a"],
        time: Float[Array, " b"],
    ) -> tuple[Tokens, Float[Array, "b c"] | None]:
        """The state token (its own block, if configured) and the action tokens, and the condition.

        float32; the condition of the adaRMS norms is None where time joins the tokens instead.
        """

        def project(name: str, x: Array) -> Array:
            return dense(params[name], x, jnp.float32)

        b, horizon, _ = noisy_actions.shape
        embedded = project("action_in_proj", noisy_actions)
        time_embedding = flow.embed_time(time, self.config.expert.width)
        condition = None
        if self.config.time_input == "adarms":
            hidden = jax.nn.swish(project("time_mlp_in", time_embedding))
            condition = jax.nn.swish(project("time_mlp_out", hidden))
        else:
            repeated = jnp.broadcast_to(time_embedding[:, None, :], embedded.shape)
            joined = jnp.concatenate([embedded, repeated], axis=-1)
            hidden = jax.nn.swish(project("action_time_mlp_in", joined))
            embedded = project("action_time_mlp_out", hidden)
        starts_block = jnp.arange(horizon) == 0
        if self.config.state_input == "continuous":
            state_token = project("state_proj", state)[:, None, :]
            embedded = jnp.concatenate([state_token, embedded], axis=1)
            starts_block = jnp.concatenate([jnp.ones(1, dtype=bool), starts_block])
        valid = jnp.ones((b, embedded.shape[1]), dtype=bool)
        return Tokens(embedded, valid, starts_block), condition

    def _read_velocity(self, params: Params, streams: Streams) -> Float[Array, "b h a"]:
        if streams.expert is None:
            raise ValueError("the velocity is read from action tokens, and this pass had none")
        actions = streams.expert[:, -self.config.action_horizon :]
        return dense(params["action_out_proj"], actions, jnp.float32)


def trainable_mask(config: PolicyModelConfig, params: Params) -> Params:
    """Which leaves train: all of them, or by openpi's freeze rule where an expert has LoRA.

    An adapted expert's own language-model weights are frozen but for its adapters; the embedding
    table and the VLM's final norm belong to the VLM. SigLIP and the projections always train.

    Returns:
        ``params``' structure with a bool per leaf.
    """

    def trains(path: tuple[Any, ...], _: object) -> bool:
        name = "/".join(str(part.key) for part in path)
        expert = config.expert if "_1" in name.partition("llm")[2] else config.vlm
        return "llm" not in name or "lora" in name or expert.lora is None

    return jax.tree_util.tree_map_with_path(trains, params)
