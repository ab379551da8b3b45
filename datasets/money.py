"""Amounts of money: whole millionths of a US dollar (micro-USD), and their exact decimal text."""

from collections.abc import Iterable

MICRO = 1_000_000  # micro-USD in a USD
CENTS = 2  # digits after the point that an amount has at least


def dollars(micro_usd: int, digits: int = 6) -> str:
    """An amount in US dollars as decimal text with so many digits after the point, more if it needs them.

    >>> dollars(39_000, 3), dollars(-1_500_000, 2), dollars(1)
    ('0.039', '-1.50', '0.000001')
    """
    whole, rest = divmod(abs(micro_usd), MICRO)
    sign = "-" if micro_usd < 0 else ""
    return f"{sign}{whole}.{f'{rest:06d}'[: max(digits, digits_of([micro_usd]))]}"


def digits_of(amounts: Iterable[int]) -> int:
    """The fewest digits after the point, two at least, with which all amounts in micro-USD are exact."""
    return max([CENTS, *(len(f"{abs(each) % MICRO:06d}".rstrip("0")) for each in amounts)])
