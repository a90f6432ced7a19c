"""Tags as Datadog stores them, which is how a query must spell them.

What Datadog documents (Getting Started with Tags; Rules and best practices for naming tags): tags become lower case;
other characters than letters, digits, underscores, minuses, colons, periods and slashes become underscores; several
underscores in a row become one, and none stays at the end; what is beyond 200 characters is lost. Letters of other
scripts stay. What becomes of a tag that starts with no letter is not documented: it is left as it is here.
"""

from __future__ import annotations

import re

LONGEST = 200
FOREIGN = re.compile(r"[^\w:./-]")
UNDERSCORES = re.compile(r"__+")


def stored(tag: str) -> str:
    """A tag, or the value of one, as Datadog stores it.

    >>> stored("path:/v2/models/{model_name}/infer"), stored("gpu_uuid:GPU-1")
    ('path:/v2/models/_model_name_/infer', 'gpu_uuid:gpu-1')
    """
    return _spelt(tag)[:LONGEST].rstrip("_")


def stored_pattern(value: str) -> str:
    """The value of a tag in a query, wildcards and all, as what it selects is stored."""
    first, *others = value.split("*")
    return "*".join((_spelt(first), *map(_spelt, others))) if others else stored(value)


def needs_spelling(value: str) -> bool:
    """Whether a value has characters that no stored tag has, case aside."""
    return FOREIGN.search(value.replace("*", "")) is not None


def _spelt(text: str) -> str:
    return UNDERSCORES.sub("_", FOREIGN.sub("_", text.lower()))
