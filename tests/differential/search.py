"""What hypothesis makes programs of, and how long it looks for a difference."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from .steps import Step


def search(variable: str, examples: int) -> settings:
    """Look at so many examples, the same every time; or at as many others as an environment variable asks for."""
    return settings(
        max_examples=int(os.environ.get(variable, examples)),
        deadline=None,
        derandomize=variable not in os.environ,
        suppress_health_check=list(HealthCheck),
    )


def of(kind: str, *arguments: Any) -> st.SearchStrategy[Step]:
    """The step of that name; arguments that are no strategies stand for themselves."""
    strategies = [each if isinstance(each, st.SearchStrategy) else st.just(each) for each in arguments]
    return st.tuples(st.just(kind), *strategies)
