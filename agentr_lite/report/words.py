"""Figures as short texts, and differences as sentences."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from agentr_lite.console.text import Styled
from agentr_lite.metrics.estimates import Estimate

Cell = str | Styled | int | None
"""What a table's cell may be; None shows as a dash."""

_MEASURES = {"solves": "success", "recovers": "recovery", "earns": "reward"}
_DIGITS = {"percent": 1, "decimal": 3, "count": 2}
_MINUS = "−"


def comparison_sentence(
    name: str,
    verb: str,
    difference: Estimate,
    *,
    unit: str = "percent",
    than: str = "base",
) -> Styled:
    """A sentence about a difference: more than noise, inside it, or of too few tasks to tell.

    Args:
        name: who is compared.
        verb: ``solves`` (success), ``recovers`` (recovery) or ``earns`` (reward).
        difference: with its interval.
        unit: ``percent`` (shown in points) or ``decimal``.
        than: whom it is compared with.
    """
    measure = _MEASURES[verb]
    if difference.too_few:
        few = too_few(difference)
        return Styled(f"{name}: the difference from {than} in {measure} is {few}.", fg="yellow")
    if difference.always_zero:
        # Nothing to resample: an interval of no width would claim certainty.
        return Styled(f"{name}: no difference from {than} in {measure} in any task.")
    value = difference.value
    amount = points(abs(value)) if unit == "percent" else decimal(abs(value))
    what = f"{amount} points" if unit == "percent" else f"{amount} reward"
    within = f"95 % interval {interval(difference, signs=True, unit=unit)}"
    if difference.excludes_zero:
        direction = "more" if value > 0 else "less" if verb == "earns" else "fewer"
        return Styled(
            f"{name} {verb} {what} {direction} than {than} ({within}).",
            fg="green" if value > 0 else "red",
        )
    return Styled(
        f"{name}: the difference from {than} in {measure} is inside the noise ({within}).",
        fg="yellow",
    )


def too_few(estimate: Estimate) -> str:
    """``too few to tell (n = 4)``."""
    return f"too few to tell (n = {estimate.n})"


def percent(value: float | None) -> str | None:
    """``41.3 %``, or None."""
    return None if value is None else f"{100 * value:.1f} %"


def percent_of(estimate: Estimate | None) -> str | None:
    """An estimate's value in percent."""
    return percent(estimate.value) if estimate else None


def decimal(value: float | None, digits: int = 3) -> str | None:
    """``0.413``, or None."""
    return None if value is None else f"{value:.{digits}f}"


def decimal_of(estimate: Estimate | None) -> str | None:
    """An estimate's value."""
    return decimal(estimate.value) if estimate else None


def points(value: float) -> str:
    """Percentage points without a sign."""
    return f"{100 * value:.1f}"


def points_of(estimate: Estimate | None, *, unit: str = "percent", better: str = "more") -> Cell:
    """A signed difference, coloured by whether its interval leaves 0 out.

    Args:
        estimate: the difference with its interval; one of too few tasks has no colour.
        unit: ``percent`` (shown in points), ``decimal`` or ``count``.
        better: ``more`` or ``fewer``, for the colour.
    """
    if not estimate:
        return None
    text = signed(estimate.value, unit)
    if estimate.too_few:
        return text
    good, bad = ("green", "red") if better == "more" else ("red", "green")
    if estimate.low > 0:
        return Styled(text, fg=good, bold=True)
    return Styled(text, fg=bad, bold=True) if estimate.high < 0 else Styled(text, fg="yellow")


def interval(
    estimate: Estimate | None, *, signs: bool = False, unit: str = "percent"
) -> str | None:
    """``33.8 to 49.3``, or with signs ``+6.7 to +21.3``.

    Args:
        estimate: a value, or a difference; None gives None.
        signs: it is a difference: ``too few to tell (n = 4)`` where that many tasks tell nothing.
        unit: ``percent``, ``decimal`` or ``count``.
    """
    if not estimate:
        return None
    if signs and estimate.too_few:
        return too_few(estimate)
    return span(estimate, signs=signs, unit=unit)


def span(estimate: Estimate, *, signs: bool = False, unit: str = "percent") -> str:
    """The ends of an interval, however few observations it is from."""
    if estimate.bounds is None:
        return too_few(estimate)
    form = signed if signs else _plain
    return f"{form(estimate.low, unit)} to {form(estimate.high, unit)}"


def p_value(value: float | None) -> str | None:
    """``0.012`` or ``<0.001``."""
    if value is None:
        return None
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def count(value: int | None) -> str | None:
    """``12,345``, ``123k``, ``1.23M`` or None."""
    if value is None or value < 100_000:
        return None if value is None else f"{value:,}"
    return f"{value / 1e3:.0f}k" if value < 999_500 else f"{value / 1e6:.2f}M"


def signed(value: float, unit: str = "percent", digits: int | None = None) -> str:
    """``+11.0`` (percentage points), ``−0.032``; what rounds to nothing has no sign.

    Args:
        value: a difference.
        unit: ``percent``, ``decimal`` or ``count``.
        digits: behind the point; default: the unit's.
    """
    text = _plain(abs(value), unit, digits)
    if float(text) == 0:
        return text
    return ("+" if value > 0 else _MINUS) + text


def signed_for(unit: str) -> Callable[[float], str]:
    """How a plot's axis of differences in this unit is lettered: ``+10.0``, ``−0.05``."""
    return partial(signed, unit=unit, digits=2 if unit == "decimal" else None)


def _plain(value: float, unit: str, digits: int | None = None) -> str:
    scaled = 100 * value if unit == "percent" else value
    return f"{scaled:.{_DIGITS[unit] if digits is None else digits}f}"
