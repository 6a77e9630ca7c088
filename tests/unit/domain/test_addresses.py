"""Which hosts mean this machine, in every spelling."""

import pytest

from prefect.agent.domain.addresses import THIS_MACHINE, is_loopback, is_loopback_address

HERE = (
    "localhost", "LOCALHOST", "localhost.", "localhost.localdomain", "localhost4", "localhost6", "ip6-localhost",
    "ip6-loopback", "prefect.localhost", "127.0.0.1", "127.255.255.254", "127.0.1.1", "127.1", "0x7f.1", "2130706433",
    "0.0.0.0", "0", "::", "::1", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "0:0:0:0:0:0:0:1", "::1%lo",
)  # fmt: skip
ELSEWHERE = (
    "", ".", "a.b", "localhost.x", "notlocalhost", "localhost.localdomain.example", "10.0.0.1", "128.0.0.1",
    "126.255.255.255", "1.0.0.127", "fe80::1%lo", "::2", "::ffff:10.0.0.1", "host.docker.internal", "face", "abc.def",
    "x", "0.0.0.0.0", "127.0.0.1.nip.io", "256.0.0.1", "0127.example", "127.0.0.1 x", "a%b", "é",
)  # fmt: skip


@pytest.mark.parametrize("host", HERE)
def test_all_names_of_the_machine_itself_are_loopback(host: str) -> None:
    """As a resolver takes them."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_no_other_name_is_loopback(host: str) -> None:
    """Also if it looks like one."""
    assert not is_loopback(host)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::1%lo", "::ffff:127.0.0.1", "0:0:0:0:0:0:0:1"])
def test_a_client_on_the_loopback_is_on_this_machine(address: str) -> None:
    """As the socket gives its address."""
    assert is_loopback_address(address)


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "::ffff:0.0.0.0", "fe80::1%lo", "localhost", "127.1", ""],
)
def test_no_other_address_is_one_of_the_loopback(address: str) -> None:
    """A listener at every address is reached from elsewhere; a name may lead anywhere."""
    assert not is_loopback_address(address)


def test_the_plain_ways_to_write_this_machine_are_loopback() -> None:
    """A key that belongs here goes nowhere else."""
    assert all(map(is_loopback, THIS_MACHINE))
