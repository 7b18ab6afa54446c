"""How Compose files are laid over each other: one set of rules for files, ``extends``, includes.

Called by the readers of stacks and playbooks; pure. The rules are Compose's: mappings are merged,
lists are joined, commands are replaced, and what has a place (a port, a path in the container) is
there once. ``!reset`` takes a value away, ``!override`` replaces it whole.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from swarmops.fleet.compose_ports import single_ports
from swarmops.fleet.document import RESET, Document, Path_

Marks = Mapping[Path_, str]
_Rule = Callable[[Any, Any, Path_, Marks], Any]


def joined(documents: Iterable[Document]) -> Document:
    """Return several documents as one, the later over the earlier, without their tags."""
    names, value, lines, files = [], None, {}, {}
    for document in documents:
        names.append(document.name)
        value = merged(value, document.value, (), document.marks)
        lines.update(document.lines)
        files.update({path: document.files.get(path, document.name) for path in document.lines})
    return Document(name=", ".join(names), value=value, lines=lines, files=files)


def merged(base: Any, over: Any, path: Path_ = (), marks: Marks | None = None) -> Any:
    """Return ``over`` laid over ``base``; ``path`` is where they stand, ``marks`` are ``over``'s.

    Null says nothing: the base's value stays.
    """
    marks = marks or {}
    if over is None:
        return base
    rule = _rule(path)
    if rule is not None and base is not None:
        return rule(base, over, path, marks)
    if isinstance(over, dict) and (base is None or isinstance(base, dict)):
        return _mappings(base or {}, over, path, marks)
    if isinstance(over, list) and isinstance(base, list):
        return _lists(base, over, path, marks)
    return over


def _mappings(
    base: Mapping[str, Any], over: Mapping[str, Any], path: Path_, marks: Marks
) -> dict[str, Any]:
    result = dict(base)
    for name, item in over.items():
        at = (*path, name)
        result[name] = item if at in marks else merged(result.get(name), item, at, marks)
    for at, mark in marks.items():
        # Also what `over` no longer has, since it was taken away when its extends were resolved.
        if mark == RESET and at[:-1] == path:
            result.pop(str(at[-1]), None)
    return result


def pairs(value: Any) -> dict[str, Any]:
    """Return a mapping, or a list of ``NAME=value``, as a mapping; a bare name has None."""
    if isinstance(value, dict):
        return value
    found = {}
    for item in value or []:
        name, separator, text = str(item).partition("=")
        found[name] = text if separator else None
    return found


def _pairs(base: Any, over: Any, path: Path_, marks: Marks) -> dict[str, Any]:
    # A name without a value says something here: that the value is the shell's.
    found = {**pairs(base), **pairs(over)}
    return {name: value for name, value in found.items() if marks.get((*path, name)) != RESET}


def _replaced(_base: Any, over: Any, _path: Path_, _marks: Marks) -> Any:
    return over


def _lists(base: Any, over: Any, _path: Path_, _marks: Marks) -> list[Any]:
    first, second = (value if isinstance(value, list) else [value] for value in (base, over))
    return [*first, *(item for item in second if item not in first)]


def _hosts(base: Any, over: Any, path: Path_, marks: Marks) -> list[Any]:
    return _lists(list(_host_lines(base)), list(_host_lines(over)), path, marks)


def _host_lines(value: Any) -> Iterator[str]:
    """Yield ``name=address`` of a mapping, or of a list that has ``name:address`` too."""
    if isinstance(value, dict):
        for name, said in value.items():
            yield from (f"{name}={one}" for one in (said if isinstance(said, list) else [said]))
        return
    for item in value if isinstance(value, list) else [value]:
        text = str(item)
        name, separator, address = text.partition("=" if "=" in text else ":")
        yield f"{name}={address}" if separator else text


def _networks(base: Any, over: Any, path: Path_, marks: Marks) -> dict[str, Any]:
    first, second = (
        dict.fromkeys(value) if isinstance(value, list) else value for value in (base, over)
    )
    return _mappings(first, second, path, marks)


def _logging(base: Any, over: Any, path: Path_, marks: Marks) -> Any:
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    drivers = [one["driver"] for one in (base, over) if one.get("driver")]
    # The options of one driver mean nothing to another.
    return over if len(set(drivers)) > 1 else _mappings(base, over, path, marks)


def _once(places: Callable[[Any], Iterable[tuple[str, Any]]]) -> _Rule:
    """Return the rule of a list whose items have a place each; ``places`` splits ranges too."""

    def rule(base: Any, over: Any, _path: Path_, _marks: Marks) -> Any:
        if not isinstance(base, list) or not isinstance(over, list):
            return over
        found = {place: one for item in [*base, *over] for place, one in places(item)}
        return list(found.values())

    return rule


def _ports(item: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(item, dict):
        published = f"{item['published']}:" if item.get("published") else ""
        yield f"{published}{item.get('target')}/{item.get('protocol', 'tcp')}", item
    else:
        yield from ((one, one) for one in single_ports(str(item)))


def _mounts(item: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(item, dict):
        target = item.get("target")
    else:
        parts = str(item).split(":")
        target = parts[1] if len(parts) > 1 else parts[0]
    yield posixpath.normpath(str(target)), item


def _files(folder: str) -> Callable[[Any], Iterator[tuple[str, Any]]]:
    def places(item: Any) -> Iterator[tuple[str, Any]]:
        named = (item.get("target") or item.get("source")) if isinstance(item, dict) else item
        yield posixpath.join(folder, str(named)), item

    return places


def _subnets(item: Any) -> Iterator[tuple[str, Any]]:
    yield str(item.get("subnet") if isinstance(item, dict) else item), item


_OF_SERVICES: Mapping[str, _Rule] = {
    **dict.fromkeys(("command", "entrypoint"), _replaced),
    **dict.fromkeys(("annotations", "environment", "labels", "sysctls"), _pairs),
    **dict.fromkeys(("dns", "dns_opt", "dns_search", "env_file", "tmpfs"), _lists),
    "configs": _once(_files("/")),
    "extra_hosts": _hosts,
    "logging": _logging,
    "networks": _networks,
    "ports": _once(_ports),
    "secrets": _once(_files("/run/secrets")),
    "volumes": _once(_mounts),
}


def _rule(path: Path_) -> _Rule | None:
    """Return what is special about the values of a place; None: mappings merge, lists join."""
    match path:
        case ("services", _, str() as key):
            return _OF_SERVICES.get(key)
        case ("services", _, "healthcheck", "test"):
            return _replaced
        case ("services", _, "deploy", "labels"):
            return _pairs
        case ("networks" | "volumes" | "secrets" | "configs", _, "labels"):
            return _pairs
        case ("networks", _, "ipam", "config"):
            return _once(_subnets)
    return None
