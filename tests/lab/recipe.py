"""What a lab host is made of: data only, read by the image builder.

The hash of this file and of `rootfs/` names the image, so that a changed recipe is built anew
and an unchanged one never twice. Nothing here names a mirror or a path of the machine.
"""

import hashlib
from pathlib import Path
from typing import Final

SUITE: Final = "bookworm"

PACKAGES: Final = (
    "ca-certificates",
    "dbus",
    "docker.io",
    "iproute2",
    "iptables",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
)

# Accounts beside root; the lab's key opens all of them. sudoers are in rootfs/.
OPERATOR: Final = "ops"
OPERATOR_WITH_PASSWORD: Final = "opspw"
SUDO_PASSWORD: Final = "lab-sudo"

# Housekeeping that only makes measurements noisy, and consoles that a container has not.
MASKED_UNITS: Final = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "systemd-logind.service",
)

# Never read on a host; left out, the image is a third smaller.
DROPPED_PATHS: Final = (
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/lib/dbus/machine-id",
)

ROOTFS: Final = Path(__file__).with_name("rootfs")


def recipe_key() -> str:
    """Return 16 hexadecimal digits that change whenever a host would be built differently."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(path for path in ROOTFS.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(ROOTFS)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
