"""openpi's own model and train step, out of a checkout that the user names.

    OPENPI_CHECKOUT=/path/to/openpi make bench

Nothing of openpi is part of this repository. Its code runs unmodified; what it imports and this
path never calls (loggers, data loading, PyTorch) is replaced by empty modules where it is absent.
"""

import functools
import importlib.util
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxtyping
import jaxtyping._decorator as jaxtyping_decorator
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from recap_core.config.policy import GemmaConfig, PolicyModelConfig
from recap_core.config.training import OptimizerConfig, TrainConfig
from recap_core.models.parameters import Params
from recap_core.models.policy import PolicyInputs

CHECKOUT = "OPENPI_CHECKOUT"
_ABSENT = {
    "augmax": (),
    "wandb": ("Image",),
    "tqdm_loggable": (),
    "tqdm_loggable.auto": (),
    "openpi.models_pytorch": (),
    "openpi.models_pytorch.pi0_pytorch": ("PI0Pytorch",),
    "openpi.training.checkpoints": (),
    "openpi.training.config": ("TrainConfig",),
    "openpi.training.data_loader": (),
    "openpi.training.weight_loaders": ("WeightLoader",),
}
"""Modules and names that the train step needs at import and never afterwards."""


def missing() -> str | None:
    """Why openpi cannot be run beside us; None: it can."""
    path = os.environ.get(CHECKOUT)
    if path is None:
        return f"{CHECKOUT} is not set: nothing to compare with"
    if not (Path(path) / "src/openpi/models/pi0.py").is_file():
        return f"{CHECKOUT}={path} holds no src/openpi/models/pi0.py"
    return None


class Openpi(NamedTuple):
    """The modules of the checkout that are used here."""

    gemma: Any
    lora: Any
    model: Any
    optimizer: Any
    pi0_config: Any
    siglip: Any
    state: Any
    train: Any


@functools.cache
def load_openpi() -> Openpi:
    """Import the checkout's modules."""
    root = Path(os.environ[CHECKOUT])
    sys.path.insert(0, str(root / "src"))
    absent = [
        name
        for name in _ABSENT
        if name.startswith("openpi.") or importlib.util.find_spec(name.partition(".")[0]) is None
    ]
    # openpi pins an older jaxtyping and patches it; shapes are not checked here anyway.
    jaxtyping.config.update("jaxtyping_disable", True)  # noqa: FBT003 - its signature
    jaxtyping_decorator.__dict__.setdefault("_check_dataclass_annotations", None)
    for name in absent:
        module = types.ModuleType(name)
        module.__path__ = []
        for attribute in _ABSENT[name]:
            setattr(module, attribute, type(attribute, (), {}))
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(importlib.import_module(parent), child, module)
    spec = importlib.util.spec_from_file_location("openpi_train", root / "scripts" / "train.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{root} has no scripts/train.py")
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    load = importlib.import_module
    return Openpi(
        gemma=load("openpi.models.gemma"),
        lora=load("openpi.models.lora"),
        model=load("openpi.models.model"),
        optimizer=load("openpi.training.optimizer"),
        pi0_config=load("openpi.models.pi0_config"),
        siglip=load("openpi.models.siglip"),
        state=load("openpi.training.utils"),
        train=train,
    )


class OpenpiPolicy:
    """openpi's pi0.5 in the architecture of one of our configurations."""

    def __init__(self, config: PolicyModelConfig) -> None:
        """Build openpi's configuration; its variant tables answer with ``config``'s sizes."""
        self.openpi = load_openpi()
        self._config = config
        self._use_sizes()
        self.model_config = self.openpi.pi0_config.Pi0Config(
            dtype=config.compute_dtype,
            pi05=True,
            action_dim=config.action_dim,
            action_horizon=config.action_horizon,
            max_token_len=config.max_token_len,
            paligemma_variant="gemma_2b_lora" if config.vlm.lora else "gemma_2b",
            action_expert_variant="gemma_300m_lora" if config.expert.lora else "gemma_300m",
        )

    def model(self, params: Params) -> Any:  # noqa: ANN401 - openpi's module
        """Its module around ``params``."""
        return self.model_config.load(params)

    def observation(self, inputs: PolicyInputs) -> Any:  # noqa: ANN401 - openpi's observation
        """Our inputs as its observation."""
        return self.openpi.model.Observation(
            images=inputs.images,
            image_masks=inputs.image_masks,
            state=inputs.state,
            tokenized_prompt=inputs.tokens,
            tokenized_prompt_mask=inputs.token_mask,
        )

    def sampler(self, params: Params, num_steps: int) -> tuple[Callable[..., Any], Any]:
        """Its ``sample_actions`` as ``f(state, inputs, noise)``, and that state."""
        graph, state = nnx.split(self.model(params))

        def sample(state: Any, inputs: PolicyInputs, noise: jax.Array) -> Any:  # noqa: ANN401
            module = nnx.merge(graph, state)
            return module.sample_actions(
                jax.random.key(0), self.observation(inputs), num_steps=num_steps, noise=noise
            )

        return sample, state

    def train_step(self, params: Params, config: TrainConfig) -> tuple[Callable[..., Any], Any]:
        """Its ``train_step`` as ``f(state, batch)``, and the state before the first step.

        Images are not augmented, as in ours.
        """
        model = self.openpi.model
        if not hasattr(model, "augmenting"):
            model.augmenting = model.preprocess_observation
        plain = functools.partial(_without_augmentation, model.augmenting)
        model.preprocess_observation = plain
        frozen = self.model_config.get_freeze_filter()
        trainable = nnx.All(nnx.Param, nnx.Not(frozen))
        its_config = sys.modules["openpi.training.config"].TrainConfig()
        its_config.trainable_filter = trainable
        module = self.model(params)
        leaves = nnx.state(module)
        frozen_paths = set(flatten_dict(leaves.filter(frozen).to_pure_dict()))
        pure: dict[Any, Any] = flatten_dict(leaves.to_pure_dict())
        cast = {
            path: leaf.astype(jnp.bfloat16) if path in frozen_paths else leaf
            for path, leaf in pure.items()
        }
        leaves.replace_by_pure_dict(unflatten_dict(cast))
        tx = self._optimizer(config.optimizer)
        state = self.openpi.state.TrainState(
            step=jnp.zeros((), jnp.int32),
            params=leaves,
            model_def=nnx.graphdef(module),
            tx=tx,
            opt_state=tx.init(leaves.filter(trainable)),
            ema_decay=config.ema_decay,
            ema_params=None if config.ema_decay is None else jax.tree.map(jnp.copy, leaves),
        )
        key = jax.random.key(config.seed)

        def step(state: Any, batch: Any) -> Any:  # noqa: ANN401 - openpi's state
            observation = self.observation(batch.inputs)
            return self.openpi.train.train_step(
                its_config, key, state, (observation, batch.actions)
            )

        return step, state

    def _optimizer(self, config: OptimizerConfig) -> Any:  # noqa: ANN401 - an optax transformation
        module = self.openpi.optimizer
        return module.create_optimizer(
            module.AdamW(
                b1=config.b1,
                b2=config.b2,
                eps=config.eps,
                weight_decay=config.weight_decay,
                clip_gradient_norm=config.clip_norm,
            ),
            module.CosineDecaySchedule(
                warmup_steps=config.warmup_steps,
                peak_lr=config.peak_lr,
                decay_steps=config.decay_steps,
                decay_lr=config.end_lr,
            ),
        )

    def _use_sizes(self) -> None:
        """Answer its lookups of variants by name with our sizes."""
        config, openpi = self._config, self.openpi
        siglip = config.siglip
        patch = (siglip.patch_px, siglip.patch_px)
        sizes = {"width": siglip.width, "depth": siglip.depth, "mlp_dim": siglip.mlp_dim}
        openpi.siglip.decode_variant = lambda _: (
            sizes | {"num_heads": siglip.num_heads, "patch_size": patch}
        )
        openpi.gemma.PALIGEMMA_VOCAB_SIZE = config.vocab_size
        openpi.gemma.get_config = lambda name: self._gemma(
            config.expert if "300m" in name else config.vlm
        )

    def _gemma(self, config: GemmaConfig) -> Any:  # noqa: ANN401 - openpi's configuration
        sizes = {name: value for name, value in config.model_dump().items() if name != "lora"}
        if config.lora is None:
            return self.openpi.gemma.Config(**sizes)
        adapter = self.openpi.lora.LoRAConfig(
            rank=config.lora.rank,
            alpha=config.lora.alpha,
            rslora=config.lora.rank_stabilized,
        )
        return self.openpi.gemma.Config(**sizes, lora_configs={"attn": adapter, "ffn": adapter})


def _without_augmentation(
    preprocess: Callable[..., Any],
    key: Any,  # noqa: ANN401 - a key or None
    observation: Any,  # noqa: ANN401 - openpi's observation
    *,
    train: bool = False,
    **options: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    del key, train
    return preprocess(None, observation, train=False, **options)
