"""Which versions of the Docker Engine API are spoken here."""

API_VERSION = "1.50"
"""The newest. CLI 29 refuses servers below 1.44."""
API_VERSION_MIN = "1.24"
"""The oldest that docker-py still speaks."""
