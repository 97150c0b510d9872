"""How the values of a dataset are inferred: batches, devices, threads, workers."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from recap_core.config.isolation import AcceleratorRuntime


class InferRuntime(AcceleratorRuntime):
    """How value inference runs.

    Shards, workers and the number of devices change no bit of the result; another batch size,
    another kind of device, or tokens that were kept, change float rounding only
    (docs/value-model.md).
    """

    batch_size: int | None = Field(default=None, ge=1)
    """Frames that a device computes at once, a power of two; None: on a GPU the largest that fits,
    on a CPU 256, or 32 where the model sees images."""
    num_devices: int | None = Field(default=None, ge=1)
    """Devices of this process that share the work; None: all."""
    decode_threads: int | None = Field(default=None, ge=1)
    """Videos that are decoded at once; None: one per CPU, and at least one per camera."""
    prefetch: int = Field(default=2, ge=1)
    """Batches that wait for the device, decoded."""
    shard_frames: int = Field(default=16_384, ge=1)
    """Frames whose values are written together, a power of two: what a killed run loses at most."""
    features: Literal["auto", "recompute"] = "auto"
    """``auto`` reads the tokens of a frozen vision encoder where a training with the same one kept
    them of all videos, and opens no video; ``recompute`` never does."""
    num_workers: int = Field(default=1, ge=1)
    """Workers that share the shards; 1: the process of the flow itself."""
    task_runner: Literal["threads", "dask", "ray"] = "threads"
    """Where several workers run: threads of this process, each on its share of the devices; or
    processes of a Dask or Ray cluster, each on the devices it sees."""
    cluster: str | None = None
    """Address of a running Dask scheduler or Ray cluster; None: one is started on this machine."""

    @field_validator("batch_size", "shard_frames")
    @classmethod
    def _is_power_of_two(cls, number: int | None) -> int | None:
        # So that a batch never spans two shards, and holds the same frames whatever the shards.
        if number is not None and number & (number - 1):
            raise ValueError(f"must be a power of two, such as {1 << (number.bit_length() - 1)}")
        return number

    @model_validator(mode="after")
    def _shards_hold_whole_batches(self) -> "InferRuntime":
        if self.batch_size is not None and self.batch_size > self.shard_frames:
            raise ValueError(
                f"batch_size ({self.batch_size}) must not exceed shard_frames ({self.shard_frames})"
            )
        if self.cluster is not None and self.task_runner == "threads":
            raise ValueError("cluster is set, so set task_runner to dask or ray")
        return self
