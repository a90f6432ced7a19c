"""Text from outside that Datadog is to show as it is, in events and in messages of service checks."""

from __future__ import annotations

import re

_AT = "\uff20"
_PERCENT = "\uff05"
_MARKDOWN = re.compile(r"(?<![^%])%|%(?![^%])")
"""A percent sign that is next to another, or could come to be: at the edge of a text that is put beside others."""


def plain_text(text: str) -> str:
    """A text in which `@` notifies nobody and `%%%` neither begins nor ends markdown; of the same length.

    Datadog takes `@name` for a person or channel that is to be told, also where a label of a payload or an answer of
    an API has brought it. Their full-width forms look alike and mean nothing.
    """
    return _MARKDOWN.sub(_PERCENT, text.replace("@", _AT))
