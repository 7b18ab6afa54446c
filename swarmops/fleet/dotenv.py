"""Compose's files of ``NAME=value`` lines: quotes, comments, values over several lines.

Called by ``compose_env``; pure. The rules are those of compose-go's ``dotenv`` package, but that
after a closing quote nothing may follow but a comment: there it is where the next variable begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from swarmops.fleet.interpolation import substitute

_BLANK = re.compile(r"(?:\s|#[^\n]*)*")
_NAME = re.compile(r"(?:export[ \t]+)?(?P<name>[\w.\[\]-]+)[ \t]*(?:(?P<sign>[=:])[ \t]*|(?=\n)|$)")
_LINE = re.compile(r"[^\n]*")
_QUOTED = {
    quote: re.compile(rf"{quote}((?:[^{quote}\\]|\\.)*){quote}", re.DOTALL) for quote in "'\""
}
_AFTER = re.compile(r"[ \t]*(?:#[^\n]*)?(?=\n|$)")
_ESCAPE = re.compile(r'\\([abfnrtv$"\\])')
_ESCAPED = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))
_ESCAPED |= {"$": "$$", '"': '"', "\\": "\\"}


def parse_env(text: str, name: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the file ``name``. Raises ValueError: ``file:line: what is wrong``.

    ``$NAME`` stands for one of ``variables`` or of those above it, but not in single quotes; a name
    alone has the value that it has among ``variables``, if any. ``export`` and ``NAME: value`` are
    understood.
    """
    found: dict[str, str] = {}
    at = _end(_BLANK, text, 0)
    while at < len(text):
        start = at
        try:
            statement = _statement(text, at)
            key, at = statement["name"], statement.end()
            if statement["sign"]:
                found[key], at = _value(text, at, key, {**found, **variables})
            elif key in variables:
                found[key] = variables[key]
        except ValueError as error:
            raise ValueError(f"{name}:{text.count(chr(10), 0, start) + 1}: {error}") from None
        at = _end(_BLANK, text, at)
    return found


def _statement(text: str, at: int) -> re.Match[str]:
    found = _NAME.match(text, at)
    if found is None:
        line = text[at : _end(_LINE, text, at)].strip()
        raise ValueError(f"'{line}' is not NAME=value: correct it")
    return found


def _value(text: str, at: int, key: str, variables: Mapping[str, str]) -> tuple[str, int]:
    """Return the value that begins here, and where it ends."""
    quote = text[at : at + 1]
    if quote not in _QUOTED:
        end = _end(_LINE, text, at)
        return substitute(text[at:end].partition(" #")[0].rstrip(), variables), end
    quoted = _QUOTED[quote].match(text, at)
    if quoted is None:
        raise ValueError(f"the value of {key} begins with {quote} and never ends: close it")
    after = _AFTER.match(text, quoted.end())
    if after is None:
        rest = text[quoted.end() : _end(_LINE, text, quoted.end())].strip()
        raise ValueError(
            f"'{rest}' follows the closing {quote} of {key}: only a comment may, so write \\{quote}"
            " for one in the value"
        )
    inside = quoted[1].replace(f"\\{quote}", quote) if quote == "'" else quoted[1]
    if quote == '"':
        inside = substitute(_ESCAPE.sub(lambda one: _ESCAPED[one[1]], inside), variables)
    return inside, after.end()


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return where a pattern ends that matches everywhere."""
    found = pattern.match(text, at)
    return at if found is None else found.end()
