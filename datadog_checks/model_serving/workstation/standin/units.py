"""Units of metrics, from the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...catalog.model import Catalog


def unit_of(name: str, catalog_files: tuple[str, ...] = ()) -> str | None:
    """Unit of a metric by its full name, such as `second`; None for a metric that no catalog knows.

    `catalog_files` are the user's own catalogs; where one of them is wrong, the check says so, and the units are
    those of the shipped catalog.
    """
    return catalog_of(catalog_files).unit(name)


def catalog_files_of(instances: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The catalogs of their own that instances name, each once."""
    files: list[str] = []
    for instance in instances:
        own = instance.get("catalog") or []
        files += [own] if isinstance(own, str) else [str(path) for path in own]
    return tuple(dict.fromkeys(files))


@lru_cache(maxsize=8)
def catalog_of(files: tuple[str, ...]) -> Catalog:
    """The shipped catalog with the user's own ones; without them where one is wrong, which the check says."""
    # Late, so that what does not print units does not wait for the catalog.
    from ...catalog.loader import load_catalog
    from ...errors import CatalogError

    try:
        return load_catalog(files)
    except CatalogError:
        if not files:
            raise
        return catalog_of(())
