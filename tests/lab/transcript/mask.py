"""Makes what two swarms printed comparable: IDs, times, addresses, tokens and versions are masked.

Pure functions over text. Rows of tables and lines of streams, whose order means nothing between
two swarms, are sorted; progress bars, which depend on when they were looked at, are left out.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

_MONTH = r"\d{4}-\d\d-\d\d"
_PATTERNS = tuple(
    (re.compile(pattern), shown)
    for pattern, shown in (
        (r"-----BEGIN [A-Z ]+-----[^-]+-----END [A-Z ]+-----", "<pem>"),
        (r"SWMTKN-1-\w{50}-\w{25}", "<token>"),
        (r"SWMKEY-1-[\w+/]{43}", "<key>"),
        (rf"{_MONTH}T[\d:.]+(?:Z|[+-]\d\d:\d\d)", "<time>"),
        (rf"{_MONTH} [\d:.]+ [+-]\d{{4}} (?:UTC|utc)", "<time>"),
        (r"\b(?:[Ll]ess than a|[Aa]bout an?|\d+) (?:second|minute|hour)s?(?= ago|\b)", "<age>"),
        (r"\b[0-9a-f]{64}\b", "<hex>"),
        (r'(?<="ID": ")[0-9a-z]{12}(?=")', "<id>"),
        (r"\.[0-9a-z]{12}(?:@<[MW]>)?(?= |$)", ".<id>"),
        (r"\b[0-9a-z]{25}\b", "<id>"),
        (r"(?m)^[0-9a-z]{12}$", "<id>"),
        (r"Issuer (Subject|Public Key):\s+\S+", r"Issuer \1: <base64>"),
        (r"20\.10\.24(?:\+dfsg1)?|\b0\.1\.0\b", "<version>"),
    )
)
_MASKED_KEYS = {
    "Index": 0,
    "EngineVersion": "<version>",
    "TrustRoot": "<pem>",
    "CertIssuerSubject": "<base64>",
    "CertIssuerPublicKey": "<base64>",
    "com.docker.network.driver.overlay.vxlanid_list": "<vxlan>",
    "PID": "<pid>",
    "time": 0,
    "timeNano": 0,
}
_OURS_ALONE = re.compile(
    r"(?m)^(?: *Executor:.*|containers in \S+ reach only those on their own node: .*)\n"
)
_PROGRESS = re.compile(
    r"overall progress: .*|\d+/\d+:.*|verify: .*|\w{12}: .*|"
    r"rollback: .*|active tasks: .*|job complete| *"
)


def masked(words: tuple[str, ...], text: str, names: Mapping[str, str]) -> str:
    """Return what a command printed without what is this swarm's alone.

    `names` are hostnames and addresses, and what they become.
    """
    for name, shown in names.items():
        text = re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.]*\w)", shown, text)
    text = _OURS_ALONE.sub("", text)
    if len(text) > 1 and text[0] in "[{":
        text = _json(text)
    for pattern, shown in _PATTERNS:
        text = pattern.sub(shown, text)
    return _lines(words, text)


def _json(text: str) -> str:
    """Return JSON, or a line of it each, with its keys in order; other text as it is."""
    try:
        return json.dumps(_values(json.loads(text)), indent=1, sort_keys=True)
    except ValueError:
        pass
    try:
        rows = [json.dumps(_values(json.loads(line)), sort_keys=True) for line in text.splitlines()]
    except ValueError:
        return text
    return "\n".join(rows)


def _values(value: Any) -> Any:
    """Return JSON's values with those masked whose key says that they are a swarm's own."""
    if isinstance(value, dict):
        if isinstance(value.get("Env"), list):
            value = {**value, "Env": sorted(value["Env"])}
        if isinstance(value.get("Labels"), str):  # a table's row: the CLI shuffles them
            value = {**value, "Labels": ",".join(sorted(value["Labels"].split(",")))}
        if str(value.get("Addr")).startswith("10.") and "NetworkID" in value:
            value = {**value, "Addr": "<virtual IP>"}
        return {
            key: _MASKED_KEYS.get(key, _values(each))
            for key, each in value.items()
            if key not in {"EnableIPv4", "IPv4"}
        }
    if isinstance(value, list):
        values = [_values(each) for each in value if not _is_executor(each)]
        is_plugins = all(isinstance(each, dict) and {*each} == {"Type", "Name"} for each in values)
        return sorted(values, key=lambda each: sorted(each.items())) if is_plugins else values
    return value


def _sorted_environment(line: str) -> str:
    """Return a line with its variables, if it shows any, in order: Docker shuffles them."""
    return " ".join(sorted(line.split())) if line.startswith(" Env: ") else line


def _is_executor(value: Any) -> bool:
    """Say whether a value is an executor among a node's plugins: only ours have any."""
    return isinstance(value, dict) and value.get("Type") == "Executor"


def _lines(words: tuple[str, ...], text: str) -> str:
    """Return lines with columns one blank apart, rows in order, IDs of rows masked."""
    lines = [re.sub(r"[ \t]{2,}|\t", "  ", line.rstrip()) for line in text.splitlines()]
    lines = [_sorted_environment(line) for line in lines]
    if words[:2] in {("service", "create"), ("service", "update"), ("service", "scale")} or (
        words[:2] in {("service", "rollback"), ("swarm", "ca"), ("stack", "deploy")}
    ):
        lines = [line for line in lines if not _PROGRESS.fullmatch(line)]
    if lines and re.match(r"(?:NETWORK )?ID ", lines[0]):
        rows = [re.sub(r"^\S+", "<id>", line) for line in lines[1:]]
        return "\n".join([lines[0], *sorted(rows)])
    if (
        words[0] == "events"
        or words[:2] in {("stack", "deploy"), ("stack", "rm")}
        or words[1] in {"ls", "ps", "services", "logs"}
    ):
        return "\n".join(sorted(lines))
    return "\n".join(lines)
