"""Frozen settings, checked on construction. Nothing here imports a heavy library."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from raytune_edge.objective import Objective

if TYPE_CHECKING:
    from raytune_edge.task import Task
    from raytune_edge.training import TrainingLoop

__all__ = ["Backend", "Criterion", "Gate", "Kind", "Precheck", "Recipe", "Retrain", "Timing"]

Gate = Literal["overlap", "wait", "off"]
Criterion = Literal["l1", "l2", "fpgm", "bn_scale", "taylor", "random"]
Kind = Literal["filters", "channels"]
Backend = Literal["nni", "torch-pruning"]
Precheck = Literal["none", "ncs2"]


def _check(owner: object, ok: bool, name: str, expected: str) -> None:
    if not ok:
        came = getattr(owner, name)
        raise ValueError(f"{type(owner).__name__}({name}=...): expected {expected}, got {came!r}")


def _plain(value: Any) -> Any:
    """A number of NumPy or PyTorch as Python's own, which JSON can carry."""
    return value.tolist() if hasattr(value, "tolist") else value


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_shape(value: object) -> bool:
    return isinstance(value, tuple) and len(value) > 0 and all(map(_counts, value))


def _is_precision(value: object) -> bool:
    # How OpenVINO writes a type; in which ones a device computes, its runtime says.
    return isinstance(value, str) and bool(re.fullmatch(r"(f|bf|i|u)\d+|dynamic", value))


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How a model is measured; this docstring is the protocol.

    1. The model is read and compiled for latency (one stream). Inputs are random numbers in
       [0, 1) with a fixed seed, of the model's own shape, and stay in place: tensors that hold
       denormal numbers would slow some kernels thirtyfold. The first inference is timed apart.
    2. Warm-up: requests until both ``warmup_requests`` and ``warmup_s`` are reached; with a slow
       network no longer than ``block_s``, or ``warmup_s`` if that is more.
    3. Latency: synchronous batch-1 requests, the next one starting when the last one ends, in
       blocks of ``block_requests`` requests or ``block_s`` seconds, whichever ends first. A block
       in which the measuring threads stood ready but had no CPU for more than ``max_pressure`` of
       the time is measured again after a pause, up to ``pressure_retries`` times in all; if it
       stays so the block is kept and the record is flagged.
    4. After ``min_blocks`` blocks, however long they take, and after each further block, the 95 %
       interval of the median is taken over the block medians (Student's t). Measuring stops when
       its half width is within ``tolerance`` of the median and ``min_s`` seconds of blocks are
       timed, or after ``max_s`` seconds of them; the record says which. ``min_s`` is there for
       networks under a millisecond, whose five blocks would end within one of the machine's moods.
       A network so slow that the next block would end past half of ``timeout_s`` after the
       warm-up's begin is left at two blocks or more, and flagged if they are fewer than
       ``min_blocks``: the other half is for all else that is to be done in time.
    5. Throughput: the model is compiled again, for throughput, and for ``throughput_s`` seconds
       as many requests are in flight as the runtime calls optimal. 0 skips this and reports
       the rate of the synchronous requests.

    Source: the order of step 3 is MLPerf Inference's single-stream scenario.

    Attributes:
        precision: Inference precision asked for, in OpenVINO's words: ``"f32"``, ``"f16"``,
            ``"bf16"``; None leaves it to the runtime, which on some CPUs chooses bfloat16. The
            record tells what the runtime answers.
        threads: Inference threads on CPU devices; None leaves it to the runtime.
        input_shape: For a model with one input of dynamic shape: the shape to measure.
        profile: Also collect per-layer times, in a run of their own so that the profiler does
            not slow the timed requests.
        timeout_s: Deadline of the whole request on the device, queue wait excluded.
        queue_timeout_s: Longest wait in the pool's queue; None waits for ever.
    """

    warmup_requests: int = 20
    warmup_s: float = 0.3
    min_blocks: int = 5
    block_requests: int = 100
    block_s: float = 3.0
    tolerance: float = 0.02
    min_s: float = 1.0
    max_s: float = 20.0
    max_pressure: float = 0.10
    pressure_retries: int = 5
    throughput_s: float = 1.0
    precision: str | None = None
    threads: int | None = 1
    input_shape: tuple[int, ...] | None = None
    profile: bool = False
    timeout_s: float = 120.0
    queue_timeout_s: float | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, _plain(getattr(self, each.name)))
        if isinstance(self.input_shape, Iterable):
            object.__setattr__(self, "input_shape", tuple(map(_plain, self.input_shape)))
        for name in ("warmup_requests", "warmup_s", "min_s", "pressure_retries", "throughput_s"):
            _check(self, getattr(self, name) >= 0, name, "a number >= 0")
        for name in ("block_requests", "block_s", "tolerance", "max_s", "timeout_s"):
            _check(self, getattr(self, name) > 0, name, "a number > 0")
        _check(self, self.min_blocks >= 2, "min_blocks", "at least 2 (an interval needs two)")
        _check(self, 0 < self.max_pressure <= 1, "max_pressure", "a fraction in (0, 1]")
        expected = {
            "threads": (_counts, "at least 1"),
            "input_shape": (_is_shape, "whole numbers above 0, such as (1, 3, 32, 32)"),
            "precision": (_is_precision, "OpenVINO's word for it, such as 'f32', 'f16' or 'bf16'"),
            "queue_timeout_s": (lambda limit: limit > 0, "a number > 0"),
        }
        for name, (fits, words) in expected.items():
            value = getattr(self, name)
            _check(self, value is None or fits(value), name, f"None or {words}")


@dataclass(frozen=True, kw_only=True)
class Retrain:
    """How a network is trained: the baseline, and each pruned network after it.

    SGD with Nesterov momentum. BatchNorm is recalibrated before and after.

    Attributes:
        epochs: Passes over the training data; a trial's config may say otherwise (``"epochs"``).
        lr: Peak learning rate; a trial's config may say otherwise (``"lr"``).
        schedule: ``"onecycle"`` (warm-up, then cosine to zero) or ``"cosine"``.
        collapse_epochs: A network at chance level after this many epochs is ended; 0 never does.
        recalibrate_batches: Training batches that BatchNorm statistics are taken from.
        mixed_precision: Train in mixed precision where the trial has a CUDA device.
        distill: Weight of the baseline's softened outputs in the loss, 0 (none) to 1 (only they).
        temperature: Softens both outputs when distilling.
    """

    epochs: int = 4
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["onecycle", "cosine"] = "onecycle"
    collapse_epochs: int = 2
    recalibrate_batches: int = 20
    mixed_precision: bool = True
    distill: float = 0.0
    temperature: float = 4.0

    def __post_init__(self) -> None:
        for name in ("epochs", "collapse_epochs"):
            whole = isinstance(getattr(self, name), int) and getattr(self, name) >= 0
            _check(self, whole, name, "a whole number >= 0")
        _check(self, self.lr > 0, "lr", "a number > 0")
        _check(self, 0 <= self.momentum < 1, "momentum", "a number in [0, 1)")
        _check(self, self.weight_decay >= 0, "weight_decay", "a number >= 0")
        _check(self, self.schedule in ("onecycle", "cosine"), "schedule", "'onecycle' or 'cosine'")
        _check(self, self.recalibrate_batches >= 1, "recalibrate_batches", "at least 1")
        _check(self, 0 <= self.distill <= 1, "distill", "a number from 0 to 1")
        _check(self, self.temperature > 0, "temperature", "a number > 0")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that a trial needs to know beside its sampled config.

    Attributes:
        task: The trained network, its data and its input shape.
        retrain: How pruned networks are retrained.
        objective: What the search looks for, and what is infeasible.
        timing: How a model is measured.
        gate: When a trial over its latency budget ends: ``"overlap"`` retrains until the first
            measurement is in, ``"wait"`` waits for it before the first epoch, ``"off"`` measures
            only after retraining.
        precheck: ``"ncs2"`` compiles each network for a Neural Compute Stick 2, without one, before
            any device is asked: what it cannot run ends as unsupported, and the predicted time of
            the rest is ``predicted_hw_ms``. Each node with trials needs the stick's runtime:
            ``raytune-edge ncs2 install``.
        round_to: Kept channels are a multiple of this; 8 suits CPUs (latency falls in such steps).
        min_keep: Least channels that a group keeps.
        criterion: How channels are ranked: see `pruning.criteria.score_channels`.
        kind: ``"filters"`` ranks by the producer's filters, ``"channels"`` by the consumers'.
        backend: ``"nni"`` or ``"torch-pruning"``.
        training_loop: Trains in place of `training.fine_tune`; None uses that.
        seed: Of pruning, data order and training.
    """

    task: Task
    retrain: Retrain = field(default_factory=Retrain)
    objective: Objective = field(default_factory=lambda: Objective(maximize="top1"))
    timing: Timing = field(default_factory=Timing)
    gate: Gate = "overlap"
    precheck: Precheck = "none"
    round_to: int = 8
    min_keep: int = 8
    criterion: Criterion = "l1"
    kind: Kind = "filters"
    backend: Backend = "nni"
    training_loop: TrainingLoop | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        choices = {
            "gate": Gate,
            "precheck": Precheck,
            "criterion": Criterion,
            "kind": Kind,
            "backend": Backend,
        }
        for name, literal in choices.items():
            known = get_args(literal)
            _check(self, getattr(self, name) in known, name, f"one of {known}")
        _check(self, self.round_to >= 1, "round_to", "at least 1")
        if self.precheck == "none" and "predicted_hw_ms" in self.objective.metrics:
            raise ValueError(
                'Recipe(objective=...): predicted_hw_ms is known only with precheck="ncs2"'
            )
        _check(self, self.min_keep >= 1, "min_keep", "at least 1")
