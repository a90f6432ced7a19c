"""What is wrong with an instance: all of it is told at once, so that one correction is enough."""

from __future__ import annotations

from datadog_checks.base import ConfigurationError


class Problems:
    """The complaints about one instance, which messages call `where`.

    `options` are those that a complaint is about: what follows from their being wrong, or missing because of that, is
    no complaint of its own.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.options: set[str] = set()
        self._texts: dict[str, None] = {}

    def add(self, text: str, *options: str) -> None:
        """Complain about options: which one, what is wrong with it, and what to write instead."""
        self._texts[text] = None
        self.options.update(options)

    def needs(self, *options: str) -> bool:
        """Whether one of these may be missed: there is none that is wrong, and may have been meant for it."""
        return self.options.isdisjoint(options)

    def check(self) -> None:
        """Raise ConfigurationError, on one line with all complaints, if there are some."""
        texts = list(self._texts)
        if not texts:
            return
        if len(texts) > 1:
            numbered = "; ".join(f"({number}) {text}" for number, text in enumerate(texts, 1))
            texts = [f"{len(texts)} problems: {numbered}"]
        raise ConfigurationError(f"{self.where}: {texts[0]}")
