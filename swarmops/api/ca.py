"""What ``docker swarm ca --rotate`` asks for, and the rotation that begins with it.

Called by ``swarmops.api.swarm`` alone. It prepares what the cluster object shall hold; nodes change
over by themselves then, and the leader ends the rotation.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET
from msgspec.structs import replace

from swarmops.api.errors import invalid, rpc
from swarmops.model.base import given
from swarmops.model.swarm import CAConfig, Cluster, ClusterInternal, RootRotation, SwarmSpec
from swarmops.pki.subject import CertificateError

NO_EXTERNAL = "external certificate authorities are not supported: the swarm signs by itself"


def refuse_external(wanted: CAConfig) -> None:
    """Raise ApiError 501 for an authority outside of the swarm."""
    if given(wanted.external_cas, []):
        raise rpc("Unimplemented", NO_EXTERNAL)


def asks_for_root(stored: CAConfig, wanted: CAConfig) -> bool:
    """Whether an update wants another root. Raises ApiError 400 if it brings half of one."""
    refuse_external(wanted)
    cert, key = given(wanted.signing_ca_cert, ""), given(wanted.signing_ca_key, "")
    if key and not cert:
        raise invalid("if a signing CA key is provided, the signing CA cert must also be provided")
    forced = given(wanted.force_rotate, 0) != given(stored.force_rotate, 0) and (
        wanted.force_rotate is not UNSET
    )
    another = bool(cert) and cert.strip() != given(stored.signing_ca_cert, "").strip()
    if (forced or another) and cert and not key:
        raise invalid(
            "there must be at least one valid, reachable external CA corresponding to the next "
            "CA certificate"
        )
    return forced or another


def without_secrets(spec: SwarmSpec, wanted: CAConfig, *, rotates: bool) -> SwarmSpec:
    """Return the settings as they may be shown: with the brought certificate, never its key."""
    config = given(spec.ca_config, CAConfig())
    config = replace(config, signing_ca_key=UNSET)
    if rotates:
        config = replace(config, signing_ca_cert=given(wanted.signing_ca_cert, "") or UNSET)
    return replace(spec, ca_config=config)


def rotating(cluster: Cluster, wanted: CAConfig, now: datetime) -> Cluster:
    """Return the cluster with a rotation begun. Raises ApiError 400 for a root of no use."""
    # The library for certificates is for managers: a worker serves this application too.
    from swarmops.pki.root import RootCA, new_root, tls_info  # noqa: PLC0415
    from swarmops.pki.rotation import cross_sign, given_root  # noqa: PLC0415

    internal = given(cluster.internal, ClusterInternal())
    cert = given(wanted.signing_ca_cert, "")
    old = RootCA(cert_pem=internal.ca_cert, key_pem=internal.ca_key)
    try:
        root = given_root(cert, given(wanted.signing_ca_key, ""), now) if cert else new_root(now)
        cross_cert = cross_sign(old, root, now)
    except CertificateError as error:
        raise invalid(str(error)) from error
    described = tls_info(root.cert_pem)
    rotation = RootRotation(
        ca_cert=root.cert_pem, ca_key=root.key_pem, cross_cert=cross_cert, tls_info=described
    )
    return replace(
        cluster,
        tls_info=replace(described, trust_root=internal.ca_cert),
        root_rotation_in_progress=True,
        internal=replace(internal, rotation=rotation),
    )
