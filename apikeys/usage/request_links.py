"""Links from figures to the requests behind them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import urlencode

from django.urls import reverse

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True)
class RequestLinks:
    """page: the name of the log's URL. filters: of all links."""

    page: str
    filters: dict[str, str]

    def url(self, start: datetime, end: datetime, **filters: str) -> str:
        """start, end: in UTC. The link means the same in every time zone."""
        period = {"since": f"{start:%Y-%m-%dT%H:%M}Z", "until": f"{end:%Y-%m-%dT%H:%M}Z"}
        return f"{reverse(self.page)}?{urlencode(self.filters | period | filters)}"

    def slot_url(self, slot: date, **filters: str) -> str:
        """The requests of an hour or a day in UTC."""
        if isinstance(slot, datetime):
            return self.url(slot, slot + HOUR, **filters)
        start = datetime.combine(slot, time(), UTC)
        return self.url(start, start + DAY, **filters)

    def verdicts(self, slot: date) -> list[str]:
        """The links of the bars in a chart of allowed and denied requests."""
        return [self.slot_url(slot, verdict=verdict) for verdict in ("allowed", "denied")]
