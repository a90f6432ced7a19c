"""Numbers and lines of text as a drawing has them."""

from __future__ import annotations

import textwrap
from html import escape

from ...http.redact import printable

WIDE = 0.54
"""Mean width of a letter, as a share of its size: what a text takes is estimated, for it depends on the font."""
SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def number(value: float) -> str:
    """Three digits: 0.0123, 12.3, 12.3k.

    >>> number(0.01234), number(12.34), number(999.96), number(12340)
    ('0.0123', '12.3', '1k', '12.3k')
    """
    value = float(f"{value:.3g}")
    for scale, letter in SCALES:
        if abs(value) >= scale:
            return f"{value / scale:.3g}{letter}"
    return f"{value:.3g}"


def value_text(value: float, unit: str) -> str:
    """A number with its unit, in the size of the unit that fits.

    >>> value_text(0.0123, "second"), value_text(90000, "second"), value_text(4.2, "percent"), value_text(3e9, "byte")
    ('12.3 ms', '25 h', '4.2 %', '3 GB')
    """
    match unit:
        case "second":
            for scale, name in ((3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms")):
                if abs(value) >= scale * (10 if scale > 1 else 1):
                    return f"{number(value / scale)} {name}"
            return f"{number(value * 1e3)} ms" if value else "0 s"
        case "percent":
            return f"{number(value)} %"
        case "byte":
            text = number(value)
            return f"{text[:-1]} {text[-1]}B" if text[-1].isalpha() else f"{text} B"
        case "watt":
            return f"{number(value)} W"
        case "degree_celsius":
            return f"{number(value)} °C"
        case _:
            return number(value)


def cut(text: str, width: float, size: float) -> str:
    """A text that fits, with an ellipsis where it had to be cut."""
    most = max(1, int(width / (size * WIDE)))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def wrapped(text: str, width: float, size: float) -> list[str]:
    """A text in lines that fit."""
    return textwrap.wrap(text, max(1, int(width / (size * WIDE)))) or [""]


def xml(text: str) -> str:
    """A text as XML and HTML have it; what is no character of them is spelt out."""
    return escape(printable(text))
