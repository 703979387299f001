"""Which addresses a registry may name."""

from __future__ import annotations

import pytest

from pipeline.oci.registry.addresses import is_public, resolve


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("10.0.0.1", False),
        ("224.0.0.1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("::ffff:8.8.8.8", True),
        ("::ffff:192.168.0.1", False),
        ("2002:0a00:0001::1", False),
    ],
)
def test_which_addresses_anyone_can_reach(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "93.184.215.14"])
def test_an_address_is_its_own(address: str) -> None:
    assert resolve(address) == (address,)


def test_this_machine_is_found_by_name() -> None:
    assert not any(is_public(address) for address in resolve("localhost"))
    assert resolve("localhost")


@pytest.mark.parametrize("name", ["", "a" * 300, "not a name", "\x00"])
def test_what_is_no_name_has_no_address(name: str) -> None:
    assert [address for address in resolve(name) if is_public(address)] == []
