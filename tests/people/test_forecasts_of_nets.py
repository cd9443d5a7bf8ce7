"""What operators are shown of a zone that feeds back, from the forecasts of a street to the page and the command line."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec import json
from msgspec.structs import replace

from meterseal.app.operator import as_json
from meterseal.cli.forecast import _by_day, _scores
from meterseal.control.engine import write
from meterseal.control.tables import premises, usage_points
from meterseal.errors import DataError, LocalError
from meterseal.mdms.forecasts import DAY, Forecasts
from meterseal.mesh.rpc import InProcess
from meterseal.people.forecast_messages import UnusualBill
from meterseal.people.forecasts import Outlooks
from meterseal.people.portal.context import Portal
from meterseal.people.portal.curves import drawn
from meterseal.people.portal.settings import PortalSettings
from tests.control_store import control_at
from tests.mdms.forecast.street import SUMMER
from tests.mdms.test_forecasts import forecasts
from tests.mdms.test_forecasts_of_nets import ZONES, sunny


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Forecasts, sa.Engine]]:
    path = tmp_path_factory.mktemp("nets")
    engine = control_at(path / "control.db")
    with write(engine) as db:
        db.execute(premises.insert().values(id="pr-1"))
        for point in ("up-0", "up-2"):
            db.execute(usage_points.insert().values(id=point, premises_id="pr-1", medium="electricity"))
    book = forecasts(path, engine, sunny(SUMMER), zones=ZONES)
    book.make(SUMMER - DAY)
    book.look_back(SUMMER)
    yield book, engine
    engine.dispose()


def shown(
    told: tuple[Forecasts, sa.Engine],
    of: str,
    *,
    fed: bool = False,
    code: str = "en",
    unusual: tuple[UnusualBill, ...] | None = None,
) -> str:
    book, engine = told
    page = replace(Outlooks(engine, book).page("electricity", of, fed=fed), unusual=unusual)
    template = (
        Portal(InProcess({}, "web"), PortalSettings())
        .languages[code]
        .environment.get_template("forecast.html")
    )
    found = None if page.found is None else drawn(page.found)
    made = template.render(
        me=None, path="/fleet/forecast", form_token=lambda: "t", page=page, found=page.found, drawn=found
    )
    return re.sub(r"\s+", " ", html.unescape(made))


def test_a_zone_says_what_it_feeds_back_and_how_such_hours_were_foreseen(
    told: tuple[Forecasts, sa.Engine],
) -> None:
    zone = told[0].whole("electricity", "sunny")
    page = shown(told, "sunny")
    first = -sum(zone.quantiles[2][:24])
    assert first > 0
    assert f"about <b>{first:,.2f}</b> kWh more fed back than drawn" in page
    assert "Less what they feed in: below nothing, more is fed back than drawn." in page
    assert f"At most about {-zone.lows[2][0]:,.2f} kWh will be fed back in an hour" in page
    assert f"hardly more than {-zone.lows[0][0]:,.2f} kWh" in page
    assert f'<td class="num">{-zone.lows[0][6]:,.2f}</td></tr>' in page
    assert "What single usage points feed in, the first day" in page
    assert "Sums: zones, and all together, fed back at most" in page
    assert told[0].lately is not None
    (day,) = next(one for one in told[0].lately if one.sums).lowest
    assert f"<b>{day.came:,.2f}</b>" in page[page.index("Each day's lowest hour, all together") :]
    assert "反送约比取用多" in shown(told, "sunny", code="zh_Hans_CN")


def test_a_zone_without_plants_says_nothing_of_feeding_back(told: tuple[Forecasts, sa.Engine]) -> None:
    page = shown(told, "shady")
    assert "Less what they feed in" not in page
    assert "will be fed back" not in page
    assert "Fed back at most" not in page


def test_what_a_usage_point_will_feed_in_is_a_link_away(told: tuple[Forecasts, sa.Engine]) -> None:
    used, fed = shown(told, "up-0"), shown(told, "up-0", fed=True)
    assert '<a href="/fleet/forecast?of=up-0&fed=1">What it will feed in</a>' in used
    assert '<a href="/fleet/forecast?of=up-0">What it will use</a>' in fed
    found = told[0].of("up-0", "electricity", fed=True)
    assert f"about <b>{sum(found.quantiles[2][:24]):,.2f}</b> kWh fed in" in fed
    assert "There is no forecast of" in shown(told, "sunny-side", fed=True)


def test_the_command_line_says_both_peaks_of_a_day(told: tuple[Forecasts, sa.Engine]) -> None:
    zone = told[0].whole("electricity", "sunny")
    head, first, *_ = _by_day(json.decode(as_json(zone)))
    assert head.startswith("electricity of zone sunny, less what is fed in, from ")
    assert f"hardly above {zone.peaks[4][0]:.2f}   fed back about " in first
    assert first.endswith(f": {-zone.lows[2][0]:.2f}, hardly above {-zone.lows[0][0]:.2f}")
    plain, line, *_ = _by_day(json.decode(as_json(told[0].whole("electricity", "shady"))))
    assert "less what is fed in" not in plain
    assert "fed back" not in line
    fed, *_ = _by_day(json.decode(as_json(told[0].of("up-0", "electricity", fed=True))))
    assert fed.startswith("up-0, fed in, from ")
    text = "\n".join(_scores(json.decode(as_json(told[0].lately))))
    assert "electricity, fed in, first day" in text
    assert "electricity, summed: a day's lowest hour was off by" in text


def test_who_feeds_in_nothing_is_shown_whatever_the_files_of_all_others_are(
    told: tuple[Forecasts, sa.Engine], tmp_path: Path
) -> None:
    """Each look at a usage point opened all files again for what it may feed in; a damaged one took the page along."""
    first = Outlooks(told[1], told[0]).page("electricity", "up-2")
    assert first.found is not None
    assert not first.feeds
    shutil.copytree(told[0]._files._directory, tmp_path / "forecasts")
    before = forecasts(tmp_path, told[1], sunny(SUMMER), zones=ZONES)
    assert Outlooks(told[1], before).page("electricity", "up-2").found == first.found
    others = [path for path in (tmp_path / "forecasts").iterdir() if "electricity-00000" not in path.name]
    assert len(others) > 3
    for path in others:
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(LocalError, match="what this usage point feeds in"):
        before.of("up-2", "electricity", fed=True)  # all were looked into before
    after = forecasts(tmp_path, told[1], sunny(SUMMER), zones=ZONES)
    page = Outlooks(told[1], after).page("electricity", "up-2")
    assert (page.found, page.feeds) == (first.found, False)
    with pytest.raises(DataError, match="not the forecast that was kept there"):
        after.of("up-2", "electricity", fed=True)


def test_bills_ahead_that_are_out_of_the_ordinary_are_listed_beside_all_together(
    told: tuple[Forecasts, sa.Engine],
) -> None:
    one = UnusualBill(
        usage_point="up-4",
        medium="electricity",
        unit="kWh",
        since=0,
        until=30 * DAY,
        used=Decimal("412.345"),
        low=Decimal(380),
        high=Decimal("1450.26"),
        cost_fen=-1_234_50,
        credit_fen=0,
        expected=0.0,
        last=("ag-4.v1", 98_76, 0, 30 * DAY),
    )
    page = shown(told, "", unusual=(one,))
    row = page[page.index('<a href="/fleet/meters/up-4">up-4</a>') :]
    assert re.findall(r">([^<>]+)</(?:b|td)>", row)[:5] == [
        "≈ −¥1,234.50",
        "412.3 kWh",
        "380.0 – 1,450.3",
        "0.0",
        "¥98.76",
    ]
    assert "Running bills are looked at once a day" in shown(told, "")
    assert "None: what is predicted fits the last bills" in shown(told, "", unusual=())
    assert "Unusual bills ahead" not in shown(told, "sunny", unusual=(one,))
    assert "Unusual" not in shown(told, "", code="zh_Hans_CN", unusual=(one,))
