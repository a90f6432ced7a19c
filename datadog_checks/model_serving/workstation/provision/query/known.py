"""What a query may name: the metrics and tags that the check sends, and what else its author knows of."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..vocabulary import Vocabulary, builtin_vocabulary


@dataclass(frozen=True, slots=True)
class Known:
    """`percentiles` are the distributions, by full name, that will have percentiles; None where that can't be told.
    `user_tags` are tags that the user's instances add to everything."""

    vocabulary: Vocabulary = field(default_factory=builtin_vocabulary)
    percentiles: frozenset[str] | None = None
    user_tags: frozenset[str] = frozenset()
