"""How long hypothesis looks for a difference."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings


def search(variable: str, examples: int) -> settings:
    """Look at so many examples, the same every time; or at as many others as an environment variable asks for."""
    return settings(
        max_examples=int(os.environ.get(variable, examples)),
        deadline=None,
        derandomize=variable not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
