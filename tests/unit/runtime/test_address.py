"""Listen and advertise addresses, as ``docker swarm init`` takes them."""

from __future__ import annotations

import pytest

from swarmops.errors import ApiError
from swarmops.runtime.address import advertise_address, listen_address, own_address


@pytest.mark.parametrize(
    ("wanted", "address"),
    [
        ("", ("0.0.0.0", 2377)),
        ("0.0.0.0:2377", ("0.0.0.0", 2377)),
        ("127.0.0.5", ("127.0.0.5", 2377)),
        ("127.0.0.5:99", ("127.0.0.5", 99)),
        ("lo:99", ("127.0.0.1", 99)),
        ("[::1]:99", ("::1", 99)),
    ],
)
def test_a_listen_address_is_an_ip_or_an_interface_with_an_optional_port(
    wanted: str, address: tuple[str, int]
):
    """What is left out is Docker's default."""
    assert listen_address(wanted) == address


@pytest.mark.parametrize(
    "wanted",
    ["nosuch0", "1.2.3.4.5:1", "example:99999", ":", "127.0.0.5:²", f"127.0.0.5:{'9' * 5000}"],
    ids=("name", "no-ip", "no-port", "nothing", "superscript", "thousands-of-digits"),
)
def test_another_listen_address_is_refused(wanted: str):
    """With a sentence, as a bad request."""
    with pytest.raises(ApiError, match="address") as refusal:
        listen_address(wanted)
    assert refusal.value.status == 400


@pytest.mark.parametrize(
    ("wanted", "listen", "address"),
    [
        ("127.0.0.7", ("0.0.0.0", 2377), "127.0.0.7:2377"),
        ("127.0.0.7:5", ("0.0.0.0", 2377), "127.0.0.7:5"),
        ("", ("127.0.0.9", 7), "127.0.0.9:7"),
        ("lo", ("0.0.0.0", 2377), "127.0.0.1:2377"),
        ("::1", ("::", 2377), "[::1]:2377"),
    ],
)
def test_what_is_advertised_comes_from_the_client_or_the_listen_address(
    wanted: str, listen: tuple[str, int], address: str
):
    """The port too."""
    assert advertise_address(wanted, listen) == address


def test_a_node_that_is_told_nothing_advertises_the_address_it_reaches_the_swarm_from():
    """A swarm on loopback is reached from loopback."""
    assert advertise_address("", ("0.0.0.0", 2377), towards="127.0.0.3") == "127.0.0.1:2377"


@pytest.mark.parametrize(
    ("advertised", "own"),
    [("127.0.0.9:2377", "127.0.0.9"), ("[::1]:1", "::1"), ("192.0.2.7:2377", None)],
)
def test_only_an_address_that_the_machine_has_is_its_own(advertised: str, own: str | None):
    """A translated address is advertised, but nothing can be sent from it."""
    assert own_address(advertised) == own


@pytest.mark.parametrize("wanted", ["nosuch0", "0.0.0.0"])
def test_an_address_that_nobody_can_reach_is_refused_in_dockers_words(wanted: str):
    """The words that ``docker swarm init --advertise-addr nosuch0`` prints."""
    with pytest.raises(ApiError, match="advertise address must be a non-zero IP address"):
        advertise_address(wanted, ("0.0.0.0", 2377))
