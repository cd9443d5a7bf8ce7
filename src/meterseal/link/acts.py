"""Station link, the table of commands: everything that can be said down to a meter, one row each.

It builds no frame (`things.verbs` does) and authorises nothing (`security.commanding` does); both read the same rows, so
what a row protects is protected wherever a frame comes from. A frame that no row names is `write`: nobody here knows what a
meter takes it for, so it stands under the strongest protection.
"""

from __future__ import annotations

from typing import Final

from meterseal.link.act_rows import ACTS, EVERY_DEVICE, Act, Command, Form, Given
from meterseal.link.commands import is_read
from meterseal.link.firmware import DIGEST, SWITCH, SWITCH_645
from meterseal.model import Medium
from meterseal.wire import identifiers as ids
from meterseal.wire.frame import Frame
from meterseal.wire.roster import MOST_NAME, ROSTER, ROSTER_645, WORDS, What

__all__ = ["ACTS", "BY_NAME", "COMMANDS", "Act", "Command", "Form", "Given", "act_of", "protection"]

MINUTE = 60_000


def _relay(
    act: Act, code: int, action: str, english: str, chinese: str, *, supply: bool, bulk: int
) -> Command:
    form = Form("relay", 0x1C, size=8, first=code, action=action)
    return Command(
        act=act,
        english=english,
        chinese=chinese,
        officers=2,
        forms={"dlt645": form},
        bulk=bulk,
        supply=supply,
        seen={"dlt645": 0x04000503},
    )


def _valve(act: Act, media: tuple[Medium, ...], english: str, chinese: str, bulk: int) -> Command:
    closes = act == "valve-close"
    form = Form("valve", 0x04, ids.VALVE, 1, 0x99 if closes else 0x55, action="close" if closes else "open")
    return Command(
        act=act,
        english=english,
        chinese=chinese,
        officers=2,
        forms={"cjt188": form},
        media=media,
        seen={"cjt188": ids.METERING},
        bulk=bulk,
        supply=True,
    )


def _roster(
    act: Act, what: What, english: str, chinese: str, given: tuple[Given, ...] = (), size: int | None = None
) -> Command:
    first = WORDS[what]
    return Command(
        act=act,
        english=english,
        chinese=chinese,
        officers=1,
        forms={
            "cjt188": Form("vendor", 0x04, ROSTER, size, first),
            "dlt645": Form("write", 0x14, ROSTER_645, size, first),
        },
        given=given,
        bulk=0,  # it is told to a concentrator, of one meter
    )


_ON_A_BUS: Final = (
    Given("bus", "bus of the concentrator", "总线号", 0, 63, needed=False),
    Given("model", "model, where the number does not tell", "型号", 1, MOST_NAME, "name", needed=False),
)


def _day(english: str, chinese: str, sent: str) -> tuple[Given, ...]:
    return (Given("day", english, chinese, 1, 28, sent=sent),)


_STEPS: Final = tuple(
    row
    for number, (first, second) in enumerate(
        (("first", "第一"), ("second", "第二"), ("third", "第三")), start=1
    )
    for row in (
        Given(
            f"price{number}",
            f"price of the {first} step",
            f"{second}阶梯价格",
            0,
            999_999,
            exponent=-2,
            unit="CNY",
            sent=f"price_{number}",
        ),
        Given(
            f"volume{number}",
            f"volume up to which the {first} step goes",
            f"{second}阶梯用量",
            0,
            999_999,
            unit="m3",
            sent=f"volume_{number}",
        ),
    )
    if row.name != "volume3"
)

COMMANDS: Final[dict[Act, Command]] = {
    row.act: row
    for row in (
        Command(
            act="read",
            english="read an identifier",
            chinese="读数据",
            officers=0,
            forms={"cjt188": Form("read", 0x01), "dlt645": Form("read", 0x11)},
            given=(Given("identifier", "identifier", "数据标识", 1, 4, "hex", needed=False),),
        ),
        Command(
            act="time",
            english="set the clock",
            chinese="校时",
            officers=1,
            forms={
                "cjt188": Form("time", 0x04, ids.WRITE_CLOCK, 7),
                "dlt645": Form("time", 0x08, size=6),
            },
            given=(Given("at", "time to set", "标准时间", shape="time", needed=False),),
            seen={"cjt188": ids.METERING, "dlt645": 0x04000102},
            lasts=10 * MINUTE,
        ),
        Command(
            act="freeze",
            english="freeze the registers now",
            chinese="立即冻结",
            officers=1,
            forms={"dlt645": Form("freeze", 0x16, size=4)},
            seen={"dlt645": 0x05010001},
        ),
        Command(
            act="freeze-parameters",
            english="set the freeze parameters",
            chinese="设置冻结参数",
            officers=1,
            forms={"cjt188": Form("freeze-parameters", 0x04, 0xA104, 4)},
            given=(Given("bytes", "parameters as the maker has them", "参数", 4, 4, "hex"),),
        ),
        Command(
            act="settlement-day",
            english="set the settlement day",
            chinese="设置结算日",
            officers=1,
            forms={
                "cjt188": Form("settlement-day", 0x04, ids.WRITE_SETTLEMENT_DAY, 1),
                "dlt645": Form("write", 0x14, 0x04000B01, 2, name="settlement_day_1"),
            },
            given=_day("settlement day of the month", "结算日", "settlement_day"),
            seen={"cjt188": ids.SETTLEMENT_DAY, "dlt645": 0x04000B01},
        ),
        Command(
            act="reading-day",
            english="set the meter-reading day",
            chinese="设置抄表日",
            officers=1,
            forms={"cjt188": Form("reading-day", 0x04, ids.WRITE_READING_DAY, 1)},
            given=_day("reading day of the month", "抄表日", "reading_day"),
            seen={"cjt188": ids.READING_DAY},
        ),
        Command(
            act="alarm-volume",
            english="set the remaining volume to warn at",
            chinese="设置报警余量",
            officers=1,
            forms={"cjt188": Form("alarm-volume", 0x04, 0xA105, 5)},
            given=(
                Given("volume", "volume", "余量", 0, 99_999_999, exponent=-2, unit="m3", sent="alarm_volume"),
            ),
        ),
        Command(
            act="alarm-amount",
            english="set the remaining money to warn at",
            chinese="设置报警余额",
            officers=1,
            forms={
                "cjt188": Form("alarm-amount", 0x04, 0xA106, 4),
                "dlt645": Form("write", 0x14, 0x04001001, 4, name="alarm_amount_1"),
            },
            given=(
                Given(
                    "amount", "amount", "余额", 0, 99_999_999, exponent=-2, unit="CNY", sent="alarm_amount"
                ),
            ),
            seen={"dlt645": 0x04001001},
        ),
        Command(
            act="overdraft",
            english="set how far credit may go below zero",
            chinese="设置透支金额限值",
            officers=1,
            forms={"dlt645": Form("write", 0x14, 0x04001003, 4)},
            given=(
                Given(
                    "amount",
                    "amount",
                    "金额",
                    0,
                    99_999_999,
                    exponent=-2,
                    unit="CNY",
                    sent="overdraft_amount_limit",
                ),
            ),
            seen={"dlt645": 0x04001003},
        ),
        Command(
            act="communication",
            english="set the communication parameters",
            chinese="设置通信参数",
            officers=1,
            forms={
                "cjt188": Form("communication", 0x04, 0xA103, 1),
                "dlt645": Form("baud-rate", 0x17, size=1),
            },
            given=(Given("bytes", "parameters as the maker has them", "参数", 1, 1, "hex"),),
        ),
        Command(
            act="price",
            english="write the price table",
            chinese="写价格表",
            officers=1,
            forms={"cjt188": Form("price", 0x04, ids.WRITE_PRICE_TABLE, 16)},
            given=(
                *_STEPS,
                Given("start", "day of the month it begins on", "启用日期", 1, 28, sent="start_day"),
            ),
            seen={"cjt188": ids.PRICE_TABLE},
        ),
        Command(
            act="day-table",
            english="write the first day table of tariffs",
            chinese="写第一日时段表",
            officers=1,
            forms={"dlt645": Form("write", 0x14, 0x04010001)},
            given=(Given("periods", "hours and tariffs, such as 6:1,22:4", "时段", 1, 11, "hours"),),
            seen={"dlt645": 0x04010001},
        ),
        Command(
            act="purchase",
            english="credit a purchase",
            chinese="写购入金额",
            officers=1,
            forms={"cjt188": Form("purchase", 0x04, ids.WRITE_PURCHASE, 5)},
            given=(
                Given(
                    "serial",
                    "serial number: one above the meter's last",
                    "购买序号",
                    0,
                    255,
                    sent="purchase_serial",
                ),
                Given(
                    "amount", "amount", "金额", 1, 99_999_999, exponent=-2, unit="CNY", sent="purchase_amount"
                ),
            ),
            seen={"cjt188": ids.PURCHASE},
            bulk=0,  # a serial number is one meter's own
        ),
        Command(
            act="verification-enter",
            english="enter verification mode",
            chinese="进入检定状态",
            officers=1,
            forms={"cjt188": Form("verification", 0x04, 0xA101, 0, action="enter")},
            bulk=100,
        ),
        Command(
            act="verification-leave",
            english="leave verification mode",
            chinese="退出检定状态",
            officers=1,
            forms={"cjt188": Form("verification", 0x04, 0xA102, 0, action="leave")},
        ),
        Command(
            act="address",
            english="write the address",
            chinese="写地址",
            officers=2,
            forms={
                "cjt188": Form("write-address", 0x15, ids.WRITE_ADDRESS, 7),
                "dlt645": Form("write-address", 0x15, size=6),
            },
            given=(Given("address", "new address", "新地址", 12, 14, "digits", sent="new_address"),),
            bulk=0,  # an address is one meter's own
        ),
        _valve("valve-open", ("water", "heat"), "open the valve", "开阀", 200),
        _valve("valve-permit", ("gas",), "permit opening the valve by hand", "允许开阀", 200),
        _valve("valve-close", (), "close the valve", "关阀", 200),
        _relay("relay-trip", 0x1A, "trip", "trip the relay", "跳闸", supply=True, bulk=200),
        _relay(
            "relay-permit",
            0x1B,
            "permit-close",
            "permit closing the relay",
            "合闸允许",
            supply=True,
            bulk=200,
        ),
        _relay("relay-close", 0x1C, "close", "close the relay", "直接合闸", supply=True, bulk=200),
        _relay("relay-alarm", 0x2A, "alarm", "raise the alarm", "报警", supply=False, bulk=EVERY_DEVICE),
        _relay(
            "relay-alarm-off", 0x2B, "alarm-off", "end the alarm", "报警解除", supply=False, bulk=EVERY_DEVICE
        ),
        _relay("relay-keep", 0x3A, "keep-power", "keep the power", "保电", supply=False, bulk=EVERY_DEVICE),
        _relay(
            "relay-keep-off",
            0x3B,
            "keep-power-off",
            "end keeping the power",
            "保电解除",
            supply=False,
            bulk=200,
        ),
        Command(
            act="load-limit",
            english="set the limit of load",
            chinese="设置正向有功功率上限",
            officers=2,
            forms={"dlt645": Form("write", 0x14, 0x04000E01, 3)},
            given=(
                Given(
                    "limit", "power", "功率", 1, 999_999, exponent=-4, unit="kW", sent="forward_power_limit"
                ),
            ),
            seen={"dlt645": 0x04000E01},
            bulk=200,
            supply=True,
        ),
        _roster("roster-add", "add", "have its concentrator read it", "下发抄表档案", _ON_A_BUS),
        _roster(
            "roster-seal",
            "add-sealed",
            "have its concentrator carry what its module says",
            "下发密文表档案",
            _ON_A_BUS,
        ),
        _roster("roster-remove", "remove", "have its concentrator leave it alone", "删除抄表档案", size=2),
        Command(
            act="firmware",
            english="run new firmware that was received and verified",
            chinese="切换固件",
            officers=2,
            forms={
                "cjt188": Form("vendor", 0x04, SWITCH, DIGEST),
                "dlt645": Form("write", 0x14, SWITCH_645, DIGEST),
            },
            given=(Given("manifest", "digest of the signed manifest", "清单摘要", DIGEST, DIGEST, "hex"),),
        ),
        Command(
            act="write",
            english="send a frame that the table does not name",
            chinese="其他写命令",
            officers=2,
            forms={},
            bulk=0,
            supply=True,
        ),
    )
}
"""Every row by what it does. Valves, relays and load control take two officers, because they cut or give a supply; so does
an address, because it parts a meter from its module, new firmware, because it is the meter from then on, and what no row
names. The rest can be undone by the next command."""

BY_NAME: Final[dict[str, Command]] = {str(act): row for act, row in COMMANDS.items()}
"""The same by whatever text a message carries."""


def act_of(frame: Frame, medium: Medium) -> Act:
    """What the frame does to a meter of this medium.

    55 opens a water or heat meter's valve; a gas meter's it only permits a person on site to open (HM 7.2.11).
    """
    if is_read(frame):
        return "read"
    for row in COMMANDS.values():
        form = row.forms.get(frame.protocol)
        if form is not None and (not row.media or medium in row.media) and _has(frame, form):
            return row.act
    return "write"


def protection(frame: Frame, medium: Medium) -> Command:
    """The row that a frame stands under."""
    return COMMANDS[act_of(frame, medium)]


def _has(frame: Frame, form: Form) -> bool:
    if frame.control != form.control:
        return False
    body = frame.data
    if frame.protocol == "cjt188":
        if len(body) < 3 or ids.read_di(body)[0] != form.di:
            return False
        if form.kind == "vendor" and body[:2] != form.di.to_bytes(2, "little"):
            return False  # ours go low byte first; the other way round it is some maker's own
        body = body[3:]
    else:
        if form.di is not None:
            if body[:4] != form.di.to_bytes(4, "little"):
                return False
            body = body[4:]
        if form.kind in ("write", "relay"):
            if len(body) <= _GUARD:
                return False
            body = body[_GUARD:]
    return (form.size is None or len(body) == form.size) and (
        form.first is None or body[:1] == bytes((form.first,))
    )


_GUARD = 8
"""Password and operator of a DL/T 645 command; one that says nothing behind them is none that a row names."""
