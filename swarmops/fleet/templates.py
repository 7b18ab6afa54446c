"""Jinja2 in values, as Ansible does it: after the YAML is read, value by value, types kept.

Called by the readers of inventories and playbooks. A value that is one expression
(``"{{ count }}"``) keeps the expression's type; any other becomes a string. An undefined variable
is an error. Go templates of Docker (``{{.Node.Hostname}}``) are left as they are. Templates can't
reach the machine: they run in Jinja's sandbox.
"""

from __future__ import annotations

import functools
import json
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jinja2 import (
    StrictUndefined,
    Template,
    TemplateError,
    TemplateSyntaxError,
    Undefined,
    UndefinedError,
)
from jinja2.meta import find_undeclared_variables
from jinja2.nativetypes import NativeEnvironment, NativeTemplate
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec.structs import replace

from swarmops.errors import InputError
from swarmops.fleet.document import Document, Path_
from swarmops.fleet.lookups import lookup
from swarmops.fleet.nearest import did_you_mean

_GO_TEMPLATE = re.compile(r"\{\{-?\s*\.[^}]*\}\}")
_MARKS = ("{{", "{%", "{#")
_FAILURES = (
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
    *(MemoryError, RuntimeError),
)
"""What filters raise for values that they are not made for."""
Where = Callable[[str], str]


def _concat(values: Iterable[Any]) -> Any:
    """Join the parts of a template; a single part keeps its type."""
    parts = list(values)
    if len(parts) == 1:
        return parts[0]
    return "".join(str(part) for part in parts)


class _Environment(ImmutableSandboxedEnvironment, NativeEnvironment):
    concat = staticmethod(_concat)


class _Template(NativeTemplate):
    environment_class = _Environment


_Environment.template_class = _Template


def _environment() -> _Environment:
    env = _Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    env.globals["lookup"] = lookup
    env.filters.update(
        basename=posixpath.basename,
        dirname=posixpath.dirname,
        to_json=json.dumps,
        bool=lambda value: str(value).lower() in {"true", "yes", "on", "1"},
    )
    return env


_ENV = _environment()


@functools.lru_cache(maxsize=4096)
def _compiled(source: str) -> tuple[Template, frozenset[str]]:
    """Return the template and the names it needs; many hosts share one."""
    return _ENV.from_string(source), frozenset(find_undeclared_variables(_ENV.parse(source)))


def is_template(value: Any) -> bool:
    """Say whether a value would be rendered."""
    return isinstance(value, str) and any(mark in value for mark in _MARKS)


class Scope(Mapping[str, Any]):
    """Variables whose values may be templates over each other, rendered when they are asked for.

    ``where(name)`` gives a variable's ``file:line``, for errors.
    """

    def __init__(self, raw: Mapping[str, Any], where: Where) -> None:
        self._raw = raw
        self._where = where
        self._done: dict[str, Any] = {}
        self._open: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __getitem__(self, name: str) -> Any:
        if name in self._done:
            return self._done[name]
        raw = self._raw[name]
        if name in self._open:
            circle = " → ".join([*self._open[self._open.index(name) :], name])
            raise InputError(f"{self._where(name)}: '{name}' is defined by itself ({circle})")
        self._open.append(name)
        try:
            value = self.render(raw, self._where(name), name)
        finally:
            self._open.pop()
        self._done[name] = value
        return value

    def render(self, value: Any, where: str, what: str) -> Any:
        """Render a value and all that is in it; errors name ``where`` and ``what`` it is for."""
        if isinstance(value, dict):
            return {key: self.render(item, where, f"{what}.{key}") for key, item in value.items()}
        if isinstance(value, list):
            return [self.render(item, where, f"{what}.{i}") for i, item in enumerate(value)]
        if not is_template(value):
            return value
        source = _GO_TEMPLATE.sub(lambda found: f"{{% raw %}}{found[0]}{{% endraw %}}", value)
        try:
            template, needed = _compiled(source)
            names = {*needed, "inventory_dir"} if "lookup" in source else needed
            result: Any = template.render({n: self[n] for n in names if n in self})
            if isinstance(result, Undefined):
                str(result)  # StrictUndefined raises here, with the name
        except TemplateSyntaxError as error:
            raise InputError(
                f"{where}: {what}: not a valid Jinja2 template: {error.message}"
            ) from None
        except UndefinedError as error:
            raise InputError(self._undefined(error, source, where, what)) from None
        except TemplateError as error:
            raise InputError(f"{where}: {what}: {error.message}") from None
        except _FAILURES as error:
            reason = str(error) or type(error).__name__
            raise InputError(f"{where}: {what}: the template fails: {reason}") from None
        return result

    def _undefined(self, error: UndefinedError, source: str, where: str, what: str) -> str:
        missing = sorted(_compiled(source)[1] - set(self))
        for name in missing:
            if error.message == f"{name!r} is undefined":
                cure = did_you_mean(name, self)
                cure = cure if cure.startswith("did") else "define it under vars"
                return f"{where}: {what}: the variable '{name}' is undefined: {cure}"
        return f"{where}: {what}: {error.message}: define it, or give it a default"


def rendered(document: Document, scope: Scope) -> Document:
    """Return the document with every value rendered; lines stay those of the file."""

    def walk(value: Any, path: Path_) -> Any:
        if isinstance(value, dict):
            return {key: walk(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, (*path, index)) for index, item in enumerate(value)]
        return scope.render(value, document.where(path), ".".join(str(part) for part in path))

    return replace(document, value=walk(document.value, ()))
