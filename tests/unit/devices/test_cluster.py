"""Units of the resource, as Ray tells its nodes."""

from typing import Any

import pytest

from raytune_edge.devices.cluster import no_device_message, offered_by, units_on


def node(name: str, *, alive: bool = True, **resources: float) -> dict[str, Any]:
    named = {key.replace("_", ":"): amount for key, amount in resources.items()}
    return {
        "NodeID": name,
        "NodeManagerHostname": f"{name}.lan",
        "Alive": alive,
        "Resources": named,
    }


def test_each_unit_of_each_living_host_is_a_device() -> None:
    nodes = [
        node("a", ncs=2, CPU=4),
        node("b", CPU=8),
        node("c", ncs=1),
        node("d", ncs=1, alive=False),
    ]
    units = units_on(nodes, "ncs")
    assert [(unit.host, unit.index, unit.units) for unit in units] == [
        ("a.lan", 0, 2),
        ("a.lan", 1, 2),
        ("c.lan", 0, 1),
    ]
    assert len({unit.key for unit in units}) == 3


def test_an_actor_asks_for_its_own_unit_where_units_are_tagged() -> None:
    tagged, plain = node("a", ncs=2, ncs_0=1, ncs_1=1), node("b", ncs=1)
    assert [dict(unit.resources) for unit in units_on([tagged, plain], "ncs")] == [
        {"ncs": 1.0, "ncs:0": 1.0},
        {"ncs": 1.0, "ncs:1": 1.0},
        {"ncs": 1.0},
    ]


@pytest.mark.parametrize("units", [0, 1, 3])
def test_what_a_host_offers_is_what_the_pool_reads(units: int) -> None:
    offering = node("a") | {"Resources": offered_by(units, "ncs")}
    places = units_on([offering], "ncs")
    assert [dict(place.resources) for place in places] == [
        {"ncs": 1.0, f"ncs:{index}": 1.0} for index in range(units)
    ]


def test_a_missing_resource_is_told_with_the_line_that_mends_it() -> None:
    offered = {"CPU": 8.0, "GPU": 1.0, "memory": 1e9, "node:10.0.0.1": 1.0}
    message = no_device_message("ncs", offered, "10.0.0.1:6379")
    assert "{CPU: 8, GPU: 1}" in message
    assert "ray start --address=10.0.0.1:6379 --resources='{\"ncs\": 1}'" in message
