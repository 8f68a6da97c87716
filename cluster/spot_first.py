"""Which machine AWS is asked for next: a spot, and on demand where there was no spot to be had.

Ray's newer autoscaler does not notice that a machine was refused, and its older one, which does,
asks for the same type again unless it is told how to rank them. aws-gpu.yaml names `rank` for that.
A refusal counts for 30 minutes (AUTOSCALER_NODE_AVAILABILITY_MAX_STALENESS_S, in seconds).
"""

from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer

SPOTS = "-spot"
"""What the name of a type of spot machines ends with."""


def rank(resources, demands, node_type, *, node_availability_summary):
    """How well a type suits; the greatest is asked for. None if none of the demands fits."""
    suits = _default_utilization_scorer(
        resources, demands, node_type, node_availability_summary=node_availability_summary
    )
    if suits is None:
        return None
    last = node_availability_summary.node_availabilities.get(node_type)
    is_refused = last is not None and not last.is_available
    # Where all were refused, they take turns: the one that was asked longest ago is the next.
    refused_at = last.last_checked_timestamp if is_refused else 0.0
    return (not is_refused, -refused_at, *suits, node_type.endswith(SPOTS))
