"""The pool as drivers and trials see it: submit, measure, ask how it is, close."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from concurrent import futures
from dataclasses import dataclass
from typing import Any, NoReturn

import ray
from ray.exceptions import RayError, RayTaskError

from raytune_edge.config import Timing
from raytune_edge.devices.actor import pack
from raytune_edge.devices.causes import last_line, told
from raytune_edge.devices.desk import Order
from raytune_edge.devices.status import PoolStatus
from raytune_edge.errors import DeviceError, ModelProofError, RaytuneEdgeError
from raytune_edge.records import Measurement
from raytune_edge.runtimes.models import check_model_bytes, sha256_of
from raytune_edge.runtimes.samples import Sample, check_sample

__all__ = ["NAMESPACE", "DevicePool", "Pending", "actor_name", "ask"]

logger = logging.getLogger(__name__)

NAMESPACE = "raytune_edge"

_MEANWHILE = futures.ThreadPoolExecutor(1, "raytune_edge-sha256")
"""Hashes a model while Ray copies it into its object store."""


class Pending:
    """A request that has been sent; its answer comes when a device has measured the model.

    Args:
        sha256: Of the model; nothing but a kept record may be of another one.
    """

    def __init__(self, answer: futures.Future[Any], resource: str, sha256: str = "") -> None:
        self._answer = answer
        self._resource = resource
        self._sha256 = sha256

    def done(self) -> bool:
        """Whether the answer is here: `result` will not wait. Cheap, and never raises."""
        return self._answer.done()

    def result(self, timeout_s: float | None = None) -> Measurement:
        """Wait for the answer.

        Raises:
            UnsupportedModelError: If the device's runtime refuses the model.
            ValueError: If sample or settings do not fit the model.
            DeviceError: If the pool gave up, or the request's own limits have passed.
            TimeoutError: If there is no answer after ``timeout_s``; the request goes on, and
                `result` may be called again.
        """
        try:
            answer = self._answer.result(timeout_s)
        except futures.TimeoutError:
            raise TimeoutError(f"no answer yet after {timeout_s:g} s; ask again later") from None
        except RayError as error:
            _raise_as_ours(error, self._resource)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Measurement)
        if not answer.cached and answer.model_sha256 != self._sha256:
            raise ModelProofError(
                f"the answer is another model's: expected that of {self._sha256}, got that of "
                f"{answer.model_sha256}; thrown away"
            )
        return answer


@dataclass(frozen=True, kw_only=True)
class DevicePool:
    """A way to the devices, for one experiment: from `connect_devices`.

    It holds names only, so it can be pickled and used from any trial of the cluster. All pools of
    the same resource are one: their requests share the devices, experiments taking turns.

    Attributes:
        resource: The Ray resource whose units are the devices.
        experiment: Tells this connection's requests from those of others.
        job: Ray's id of the driver that connected.
        store: Folder of kept measurements on the pool's host; "" for none.
        max_age_s: Oldest kept measurement that may answer; None for any.
    """

    resource: str
    experiment: str
    job: str
    store: str = ""
    max_age_s: float | None = None

    def submit(
        self,
        onnx_bytes: bytes,
        *,
        timing: Timing | None = None,
        signature: str = "",
        fresh: bool = False,
        priority: int = 0,
        sample: Sample | None = None,
    ) -> Pending:
        """Send a model to be measured, and don't wait for a device.

        Where a kept measurement answers, the model does not travel.

        Args:
            onnx_bytes: The model, weights included.
            timing: How to measure, and for how long to wait and to try; `Timing` by default.
            signature: What its latency depends on (`export.signature`). Without one, no kept
                measurement answers and none is kept.
            fresh: Measure even if a kept measurement could answer; the new one is kept.
            priority: Higher ones go first among this experiment's requests.
            sample: Images (N, C, H, W) and labels (N,) to take the accuracy on the device from;
                always measured afresh, because accuracy depends on the weights.

        Raises:
            UnsupportedModelError: If the bytes are none, or too many; they don't travel then.
            ValueError: If the sample is no images with as many labels.
            DeviceError: If the pool is gone.
        """
        check_model_bytes(onnx_bytes)
        sample = None if sample is None else check_sample(sample)
        order = Order(
            timing=timing or Timing(),
            signature=signature,
            priority=priority,
            experiment=self.experiment,
            job=self.job,
            use_store=not fresh and sample is None,
            store=self.store,
            max_age_s=self.max_age_s,
        )
        asks = order.use_store and order.has_store
        if asks and (kept := self._ask("kept", order)) is not None:
            known: futures.Future[Any] = futures.Future()
            known.set_result(kept)
            return Pending(known, self.resource)
        hashed = _MEANWHILE.submit(sha256_of, onnx_bytes)
        payload = ray.put(pack(onnx_bytes, sample))
        coordinator = self._coordinator()
        order = dataclasses.replace(order, payload=payload, sha256=hashed.result())
        reference = coordinator.measure.remote(order)
        logger.info("%d bytes of ONNX are sent to the devices", len(onnx_bytes))
        return Pending(reference.future(), self.resource, order.sha256)

    def measure(self, onnx_bytes: bytes, **settings: Any) -> Measurement:
        """Measure a model and wait for it: `submit`, then `Pending.result`."""
        return self.submit(onnx_bytes, **settings).result()

    def status(self) -> PoolStatus:
        """The queue, this experiment's places in it, and how each device is.

        Raises:
            DeviceError: If the pool is gone.
        """
        status = self._ask("status", self.experiment)
        assert isinstance(status, PoolStatus)
        return status

    def quiet_cores(self) -> frozenset[int]:
        """CPUs of this host that measuring children own, and that others should keep off.

        Empty where the devices aren't this host's CPU, or it has no core to spare.

        Raises:
            DeviceError: If the pool is gone.
        """
        cores = self._ask("quiet_cores", ray.get_runtime_context().get_node_id())
        assert isinstance(cores, frozenset)
        return cores

    def close(self) -> None:
        """Leave the pool; the last experiment to leave ends it and frees the devices.

        Requests of this experiment that still wait are answered with `DeviceError`. May be called
        again.
        """
        with contextlib.suppress(DeviceError):
            coordinator = self._coordinator()
            if self._ask("release", self.experiment):
                ray.kill(coordinator, no_restart=True)

    def _coordinator(self) -> Any:
        try:
            return ray.get_actor(actor_name(self.resource), namespace=NAMESPACE)
        except ValueError as error:
            raise _gone(self.resource, error) from error

    def _ask(self, question: str, *arguments: Any) -> Any:
        return ask(getattr(self._coordinator(), question).remote(*arguments), self.resource)


def ask(reference: Any, resource: str) -> Any:
    """The pool's answer; Ray's errors become ours, so that callers need to know no others.

    Raises:
        DeviceError: If the pool is gone, or went wrong itself.
        RaytuneEdgeError: What the pool raised.
    """
    try:
        # ray.get would lend the caller's CPU to others, and Ray starts one more process for it.
        return reference.future().result()
    except RayError as error:
        _raise_as_ours(error, resource)


def actor_name(resource: str) -> str:
    """Of the pool's coordinator, within `NAMESPACE`."""
    return f"pool-{resource}"


def _raise_as_ours(error: RayError, resource: str) -> NoReturn:
    if not isinstance(error, RayTaskError):
        raise _gone(resource, error) from error
    if isinstance(error.cause, RaytuneEdgeError):
        raise error.cause from None
    raise DeviceError(
        f"the pool of {resource!r} is there, but went wrong itself: {told(error.cause)}"
    ) from error


def _gone(resource: str, error: Exception) -> DeviceError:
    return DeviceError(
        f"the pool of {resource!r} is gone, closed or lost with its cluster; connect_devices() "
        f"makes a new one ({last_line(error)})"
    )
