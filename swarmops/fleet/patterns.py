r"""Ansible's host patterns: ``all``, ``web*``, ``a:!b``, ``a:&b``, ``~web\d+``, ``web[0:2]``.

Called by ``--limit``, the commands and the playbook's ``nodes``; pure.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from swarmops.errors import InputError
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.nearest import did_you_mean
from swarmops.fleet.ranges import expand

_SUBSCRIPT = re.compile(r"(?P<name>.+)\[(?P<first>-?\d+)?(?P<colon>:)?(?P<last>-?\d+)?\]")
_COLON = re.compile(r":(?![^\[]*\])")


def match_hosts(pattern: str, inventory: Inventory) -> list[str]:
    """Return the hosts that a pattern names, in the inventory's order.

    As in Ansible, plain terms are united first, then ``&`` terms cut, then ``!`` terms taken away.
    A term that names nothing, or a pattern that leaves nothing, raises InputError, and an empty
    pattern too, which Ansible takes for all hosts: mostly it is a variable that is not set. A
    host's whole name means that host, whatever is in it: an IPv6 address has colons.
    """
    terms = [pattern] if pattern in inventory.hosts else _split(pattern)
    if not terms:
        raise InputError(
            f"the pattern '{pattern}' is empty, and so names no host of {inventory.path}: name one,"
            " or write all"
        )
    plain = [term for term in terms if term[0] not in "!&"] or ["all"]
    chosen = {host for term in plain for host in _term(term, inventory)}
    for term in terms:
        if term.startswith("&"):
            chosen &= set(_term(term[1:], inventory))
    for term in terms:
        if term.startswith("!"):
            chosen -= set(_term(term[1:], inventory))
    if not chosen:
        raise InputError(
            f"the pattern '{pattern}' leaves no host of {inventory.path}: check its parts"
        )
    return [host for host in inventory.hosts if host in chosen]


def _split(pattern: str) -> list[str]:
    """Split at commas, else at the colons that are outside brackets; a regex only at commas."""
    if "," in pattern:
        parts = pattern.split(",")
    elif pattern.startswith("~"):
        parts = [pattern]
    else:
        parts = _COLON.split(pattern)
    return [part.strip() for part in parts if part.strip(" !&")]


def _term(term: str, inventory: Inventory) -> list[str]:
    if term.startswith("~"):
        return _named(term, inventory)
    found = _SUBSCRIPT.fullmatch(term)
    if found is None or (not found["colon"] and not found["first"]):
        return _named(term, inventory)
    if found["name"] not in {*inventory.groups, *inventory.hosts} and (ranged := _ranged(term)):
        return [host for name in ranged for host in _named(name, inventory)]
    hosts = _named(found["name"], inventory)
    first = int(found["first"] or 0)
    if not found["colon"]:
        chosen = hosts[first : first + 1 or None]
    else:  # both ends belong to it, as in Ansible
        last = int(found["last"]) if found["last"] else len(hosts) - 1
        chosen = hosts[first : last + 1 or None]
    if not chosen:
        raise InputError(
            f"'{term}' is outside of '{found['name']}', which has {len(hosts)} hosts (from 0)"
        )
    return chosen


def _ranged(term: str) -> list[str]:
    """Return the names of a range as inventories write it, which Ansible's patterns don't have."""
    try:
        return expand(term) if "*" not in term else []
    except ValueError:
        return []


def _named(term: str, inventory: Inventory) -> list[str]:
    """Return the hosts of the groups that a term names, then those that it names itself.

    In each group's own order, in which Ansible's slices count.
    """
    if term.startswith("~"):
        try:
            regex = re.compile(term[1:])
        except re.error as error:
            raise InputError(f"'{term}' is no regular expression: {error}") from None
        groups = [name for name in inventory.groups if regex.match(name)]
        hosts = [name for name in inventory.hosts if regex.match(name)]
    else:
        groups = [name for name in inventory.groups if fnmatchcase(name, term)]
        hosts = [name for name in inventory.hosts if fnmatchcase(name, term)]
    chosen = [*(host for name in groups for host in inventory.groups[name]), *hosts]
    if not chosen:
        known = (*inventory.hosts, *inventory.groups)
        raise InputError(
            f"no host or group of {inventory.path} is named '{term}': {did_you_mean(term, known)}"
        )
    return list(dict.fromkeys(chosen))
