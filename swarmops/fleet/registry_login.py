"""What ``docker login`` on this machine got for the registry of an image.

Used by apply, watch and ``service create`` where they are told to hand it over: managers keep it
with the service, and nodes show it to the registry. Docker's own library reads the files of its
client, and asks its credential helpers.
"""

from __future__ import annotations

import warnings

from docker import auth
from docker.errors import DockerException

from swarmops.errors import InputError
from swarmops.model.defaults import PROCESS_IMAGE


def registry_auth(image: str) -> str:
    """Return the value of ``X-Registry-Auth`` for an image, empty where nobody logged in.

    Raises InputError where the client's configuration, or its helper, says nothing that is of use.
    """
    if image in {"", PROCESS_IMAGE}:
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a helper that is missing, which is raised as well
            registry, _ = auth.resolve_repository_name(image)
            login = auth.load_config().resolve_authconfig(registry)
    except (DockerException, OSError, ValueError, TypeError, AttributeError) as error:
        # The library lets the rest through as it comes, which tells a person nothing.
        reason = error if isinstance(error, DockerException | OSError) else "its file is damaged"
        raise InputError(
            f"what 'docker login' got for {image} can't be read ({reason}): look at"
            " ~/.docker/config.json, or log in again"
        ) from error
    return auth.encode_header(login).decode() if login else ""
