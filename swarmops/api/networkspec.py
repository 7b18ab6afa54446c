"""From the Engine's way to ask for a network to the swarm's way to keep it, checks included.

Pure; used by ``swarmops.api.networks``. Raises ``ApiError`` with Docker's texts.
"""

from __future__ import annotations

import json
from ipaddress import ip_address

from msgspec import UNSET

from swarmops.api.errors import invalid
from swarmops.api.validate import check_name
from swarmops.errors import ApiError
from swarmops.model.base import given
from swarmops.model.network import (
    OVERLAY,
    EngineIPAM,
    EngineIPAMConfig,
    IPAMConfig,
    IPAMOptions,
    NetworkCreate,
    NetworkSpec,
)
from swarmops.model.service import Driver
from swarmops.store import subnets
from swarmops.store.new_networks import IPAM_DRIVER


def spec_of(wanted: NetworkCreate) -> NetworkSpec:
    """Return what shall be stored of a request. Raises ApiError for what no swarm would take."""
    if given(wanted.scope, "") == "local":
        raise ApiError(403, "cannot downgrade network scope for overlay networks")
    if given(wanted.config_only, False) or _takes_from_another(wanted):
        raise ApiError(
            501, "networks that give or take configuration are local to a host: use its own engine"
        )
    ipam = given(wanted.ipam, EngineIPAM())
    configs = [_config(one) for one in given(ipam.config, [])]
    check_name(given(wanted.name, ""))
    if given(ipam.driver, "") not in ("", IPAM_DRIVER):
        raise invalid(f"error during lookup of plugin {ipam.driver}")
    for config in configs:
        _check(config)
    wrong = subnets.wrong_vxlan_id(given(wanted.options, {}) or {})
    if wrong is not None:
        raise invalid(f"invalid vxlan id value {json.dumps(wrong)} passed")
    if given(wanted.ingress, False) and given(wanted.attachable, False):
        raise invalid("ingress network cannot be attachable")
    return NetworkSpec(
        name=wanted.name,
        labels=given(wanted.labels, {}),
        driver_configuration=Driver(name=OVERLAY, options=given(wanted.options, None) or UNSET),
        ipv6_enabled=given(wanted.enable_ipv6, False) or UNSET,
        internal=given(wanted.internal, False) or UNSET,
        attachable=given(wanted.attachable, False) or UNSET,
        ingress=given(wanted.ingress, False) or UNSET,
        ipam_options=IPAMOptions(driver=_ipam_driver(ipam), configs=configs or UNSET),
        scope="swarm",
    )


def _takes_from_another(wanted: NetworkCreate) -> bool:
    source = given(wanted.config_from, None)
    return source is not None and bool(source.network)


def _ipam_driver(ipam: EngineIPAM) -> Driver:
    options = given(ipam.options, None) or UNSET
    return Driver(name=given(ipam.driver, "") or UNSET, options=options)


def _config(asked: EngineIPAMConfig) -> IPAMConfig:
    text = given(asked.subnet, "")
    try:
        subnets.subnet(text)
    except ValueError:
        known = False
    else:
        known = text.rpartition("/")[2].isdigit() and "/" in text
    if not known:
        raise ApiError(500, f"Invalid subnet {text} : invalid CIDR address: {text}")
    return IPAMConfig(
        subnet=text,
        range=given(asked.ip_range, "") or UNSET,
        gateway=given(asked.gateway, "") or UNSET,
    )


def _check(config: IPAMConfig) -> None:
    """Refuse a gateway or a range that is outside of its subnet."""
    text = given(config.subnet, "")
    subnet = subnets.subnet(text)
    if gateway := given(config.gateway, ""):
        try:
            inside = ip_address(gateway) in subnet
        except ValueError:
            raise invalid(f"ipam configuration: invalid gateway {gateway}") from None
        if not inside:
            raise invalid(f"ipam configuration: subnet {text} does not contain gateway {gateway}")
    if wanted := given(config.range, ""):
        try:
            part = subnets.subnet(wanted)
        except ValueError:
            raise invalid(f"ipam configuration: invalid ip-range {wanted}") from None
        if part.version != subnet.version or not _holds(subnet, part):
            raise invalid(f"ipam configuration: subnet {text} does not contain ip-range {wanted}")


def _holds(subnet: subnets.Subnet, part: subnets.Subnet) -> bool:
    return part.network_address in subnet and part.broadcast_address in subnet
