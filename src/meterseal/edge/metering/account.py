"""Station edge, prepayment in the meter: what was bought, what it costs, when to warn and when to close.

It buys nothing: credit comes with a serial number and counts once. Costs are exact: hundredths of the unit times fen.
"""

from __future__ import annotations

from msgspec.structs import replace

from meterseal.edge.metering import valve
from meterseal.edge.metering.design import MILLIONTHS, Design
from meterseal.edge.metering.inputs import Priced, Purchased, Refusal
from meterseal.edge.metering.state import Account, MeterState
from meterseal.model import BALANCE

MOST = 10**8
"""One more fen than the eight digits of an amount can say."""


def cost(account: Account, used: int) -> int:
    """Hundredths of a fen for the next `used` hundredths of the unit, by the steps that they fall into."""
    begin = account.charged - account.began
    end, below, total = begin + used, 0, 0
    bounds = (*(step * 100 or None for step in account.steps), None)
    for price, bound in zip(account.prices, bounds, strict=True):
        upper = end if bound is None else min(end, bound)
        total += price * max(0, upper - max(begin, below))
        if bound is None:
            break
        below = bound
    return total


def charge(state: MeterState) -> MeterState:
    """Take what was used since the last time. What flowed back is not paid back; it is paid for once."""
    account = state.account
    if not state.counts:
        return state
    used = state.counts[0] // MILLIONTHS - account.charged
    if used <= 0:
        return state
    balance = account.balance - (cost(account, used) if account.prepaid else 0)
    return replace(state, account=replace(account, balance=balance, charged=account.charged + used))


def begin_steps(state: MeterState) -> MeterState:
    """A month of the price table begins: its steps start from here."""
    return replace(state, account=replace(state.account, began=state.account.charged))


def price(state: MeterState, table: Priced) -> tuple[MeterState, Refusal]:
    """Take a price table."""
    first, second = table.steps
    rising = not second or 0 < first <= second
    if not 1 <= table.start_day <= 28 or not rising or min(*table.prices, *table.steps) < 0:
        return state, "bad-value"
    account = replace(state.account, prices=table.prices, steps=table.steps, start_day=table.start_day)
    return replace(state, account=account), ""


def purchase(
    state: MeterState, design: Design, bought: Purchased, now: int, noted: valve.Noted
) -> tuple[MeterState, Refusal]:
    """Credit a purchase. The last one repeated is answered as done and credits nothing; any other serial number but
    the next is refused, and so is what the display could not show.
    """
    account = state.account
    if account.bought and bought.serial == account.serial and bought.amount == account.amount:
        return state, ""
    if bought.serial != (account.serial + 1) % 256 or not 0 < bought.amount < MOST:
        return state, "bad-value"
    if account.bought + bought.amount >= MOST or account.balance // 100 + bought.amount >= MOST:
        return state, "bad-value"
    noted.append("purchase")
    account = replace(
        account,
        serial=bought.serial,
        amount=bought.amount,
        bought=account.bought + bought.amount,
        balance=account.balance + 100 * bought.amount,
    )
    return watch(replace(state, account=account, permit_until=0), design, now, noted), ""


def remaining(account: Account) -> int:
    """Hundredths of the unit that the balance still pays at the price of the step it stands in; 0 when it is used up."""
    price_now = cost(replace(account, prepaid=True), 1)
    return max(0, account.balance) // price_now if price_now else 0


def watch(state: MeterState, design: Design, now: int, noted: valve.Noted) -> MeterState:
    """Warn, close, or let open again, as the balance says."""
    account = state.account
    if not account.prepaid:
        return replace(state, alarms=state.alarms & ~BALANCE) if state.alarms & BALANCE else state
    low = bool(
        account.balance <= 100 * account.alarm_amount
        or (account.alarm_volume and remaining(account) <= account.alarm_volume)
    )
    if low and not state.alarms & BALANCE:
        noted.append("low-balance")
    alarms = state.alarms | BALANCE if low else state.alarms & ~BALANCE
    if alarms != state.alarms:
        state = replace(state, alarms=alarms, raised=state.raised | alarms)
    spent = account.balance <= -100 * account.overdraft
    if spent and state.valve == "open":
        noted.append("overdraft")
        return valve.close(state, design, "arrears", noted)
    if not spent and state.valve == "closed" and state.motion.closed_for == "arrears":
        if design.stop == "remote" and not valve.held(state, design, now):
            return valve.open_(state, design, noted)
        if design.stop in ("by-hand", "relay") and not state.permit_until:
            noted.append("permitted")
            return replace(state, permit_until=now + design.permit)
    return state
