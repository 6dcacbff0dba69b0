"""How many examples a property gets: ``make test-all`` takes many, everything else a few.

``HYPOTHESIS_PROFILE=thorough`` asks for many. No property has a deadline: machines differ. Each
file with properties imports this one, so that it holds whatever else is run.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

_FACTORS = {"quick": 0.25, "thorough": 4.0}
_LEAST = 50

settings.register_profile("quick", deadline=None)
settings.register_profile("thorough", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def examples(count: int, **more: Any) -> settings:
    """Return settings for about so many examples, as the profile has it."""
    share = round(count * _FACTORS.get(settings.get_current_profile_name(), 1.0))
    return settings(max_examples=max(share, min(count, _LEAST)), **more)
