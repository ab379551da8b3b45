"""The money of a run as the report shows it: exact sums of micro-USD, aligned, each with its reason."""

from dataclasses import dataclass
from functools import partial

from datasets.money import MICRO, digits_of

AVOIDED_WORDS = {
    "cache_hit": ("From the cache", "bought before and kept"),
    "duplicate": ("Duplicates", "the same picture, bought once"),
    "guardrail_stop": ("Stopped by a guardrail", "not good enough to pay for"),
}


@dataclass(frozen=True)
class Saving:
    """What one reason avoided: so many pictures, so much money."""

    reason: str
    count: int
    micro_usd: int


@dataclass(frozen=True)
class ItemMoney:
    """What one item cost, or why nothing was paid. Amounts are in micro-USD; ``avoided`` is what is left of it."""

    item: str
    paid: int
    avoided: int
    held: int
    words: str


@dataclass(frozen=True)
class ReportMoney:
    """What a run spent and did not have to spend, in micro-USD.

    Attributes:
        spent: Charged, what guardrails bought included.
        bought: How many pictures were charged.
        savings: By reason, before anything was taken back.
        reversed: What of them was taken back.
        guard_cost: What of ``spent`` the guardrails bought.
        held: For what is on its way; ``unknown`` for what may have been charged.
        cap: The run's budget, None without one; ``left`` of it.
        services: Who was paid, and by which price list.
    """

    spent: int
    bought: int
    savings: tuple[Saving, ...]
    reversed: int
    guard_cost: int
    held: int
    unknown: int
    cap: int | None
    left: int | None
    services: tuple[tuple[str, str], ...]
    items: tuple[ItemMoney, ...]

    @property
    def gross(self) -> int:
        return sum(saving.micro_usd for saving in self.savings)

    @property
    def net(self) -> int:
        return self.gross - self.reversed - self.guard_cost

    @property
    def decimals(self) -> int:
        """As many as every amount needs, so that they stand below each other."""
        sums = (self.spent, self.reversed, self.guard_cost, self.held, self.unknown, self.cap or 0, self.left or 0)
        return digits_of([*sums, *(saving.micro_usd for saving in self.savings)])


@dataclass(frozen=True)
class Line:
    """One line of the sums: ``kind`` names its colour in the bar, or ``sum`` for those that add up."""

    kind: str
    title: str
    note: str
    count: int | None
    amount: str


@dataclass(frozen=True)
class Share:
    """A part of the bar, in percent of its length."""

    kind: str
    start: float
    width: float


@dataclass(frozen=True)
class ItemLine:
    """One item's line, its amounts as words; empty where there is none."""

    number: int
    item: str
    words: str
    paid: str
    avoided: str
    held: str


@dataclass(frozen=True)
class MoneyView:
    """The section as the template wants it."""

    spent: str
    net: str
    sentence: str
    bar: list[Share]
    lines: list[Line]
    items: list[ItemLine]
    cap: str | None
    left: str | None
    services: tuple[tuple[str, str], ...]


def money_view(money: ReportMoney) -> MoneyView:
    """The section's words and numbers."""
    say = partial(usd, decimals=money.decimals)
    return MoneyView(
        spent=say(money.spent),
        net=say(money.net),
        sentence=sentence(money),
        bar=bar(money),
        lines=lines(money),
        items=[
            ItemLine(
                number,
                each.item,
                each.words,
                *(say(amount) if amount else "" for amount in (each.paid, each.avoided, each.held)),
            )
            for number, each in enumerate(money.items, start=1)
        ],
        cap=None if money.cap is None else say(money.cap),
        left=None if money.left is None else say(money.left),
        services=money.services,
    )


def sentence(money: ReportMoney) -> str:
    """Spent and avoided in a sentence."""
    decimals = money.decimals
    spent = f"{usd(money.spent, decimals)} USD spent" if money.spent else "Nothing spent"
    avoided = f", {usd(money.net, decimals)} USD avoided" if money.net > 0 else ", nothing avoided"
    return spent + avoided


def lines(money: ReportMoney) -> list[Line]:
    """The sums from top to bottom. Lines about what there is none of are left out, but for the guards' own cost."""
    say = partial(usd, decimals=money.decimals)
    made = [Line("spent", "Spent", "charged by the service", money.bought, say(money.spent))]
    if money.savings:
        made += [
            Line(saving.reason, *AVOIDED_WORDS.get(saving.reason, (saving.reason, "")), saving.count,
                 say(saving.micro_usd))
            for saving in money.savings
        ]  # fmt: skip
        made += [Line("sum", "Avoided, gross", "", sum(each.count for each in money.savings), say(money.gross))]
        if money.reversed:
            made += [Line("less", "Taken back", "released later, so it is paid after all", None, say(-money.reversed))]
        made += [Line("less", "What the checks cost", "", None, say(-money.guard_cost))]
        made += [Line("sum", "Avoided, net", "", None, say(money.net))]
    if money.held:
        made += [Line("held", "On its way", "kept aside until the service answers", None, say(money.held))]
    if money.unknown:
        made += [Line("held", "Perhaps charged", "kept aside until that is known", None, say(money.unknown))]
    return made


def bar(money: ReportMoney) -> list[Share]:
    """Spent against avoided, and what is not decided, as parts of one length."""
    parts = [("spent", money.spent), *((saving.reason, saving.micro_usd) for saving in money.savings)]
    parts = [part for part in [*parts, ("held", money.held + money.unknown)] if part[1] > 0]
    whole, before, made = sum(amount for _, amount in parts), 0, list[Share]()
    for kind, amount in parts:
        made.append(Share(kind, round(100 * before / whole, 3), round(100 * amount / whole, 3)))
        before += amount
    return made


def usd(micro: int, decimals: int) -> str:
    """An amount in US dollars with a true minus and thousands apart; not rounded if ``decimals`` are enough."""
    whole, rest = divmod(abs(micro), MICRO)
    return ("\N{MINUS SIGN}" if micro < 0 else "") + f"{whole:,}.{f'{rest:06d}'[:decimals]}"


def money_rows(money: ReportMoney) -> list[dict[str, object]]:
    """The sums as a table for other pages: what, how many pictures, US dollars."""
    return [{"what": line.title, "pictures": line.count, "USD": line.amount} for line in lines(money)]


def cost_words(cost: ItemMoney, decimals: int) -> str:
    """What an item cost, or why nothing was paid, in a line."""
    if cost.paid:
        return f"{usd(cost.paid, decimals)} USD, {cost.words}"
    if cost.held:
        return f"{usd(cost.held, decimals)} USD kept aside: {cost.words}"
    kept = f" ({usd(cost.avoided, decimals)} USD avoided)" if cost.avoided > 0 else ""
    return f"Nothing paid: {cost.words}{kept}"
