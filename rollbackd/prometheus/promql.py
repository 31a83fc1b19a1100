"""PromQL text: the two macros of the config, and the few expressions that rollbackd writes by itself. Pure."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from rollbackd.model.matchers import Matcher, MatchOperator

_MACRO: Final = re.compile(r"\$(selector|window)\b")


def render(query: str, selector: Sequence[Matcher], window: timedelta) -> str:
    """`query` with `$selector` and `$window` filled in; any other `$` is left alone.

    A value of a matcher is written as a literal, so that no label ever becomes PromQL (I11); what was filled in is not searched for
    macros again.
    """
    text = {"selector": ",".join(map(str, selector)), "window": duration(window)}
    return _MACRO.sub(lambda macro: text[macro[1]], query)


def duration(span: timedelta) -> str:
    milliseconds = span // timedelta(milliseconds=1)
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def newest(samples: str) -> str:
    """When the newest raw sample was taken. Only of a bare selector: of any other expression it is the time of the evaluation."""
    return f"max(timestamp({samples}))"


def coverage(samples: str, window: timedelta) -> str:
    """How many raw samples the best covered series has in the window."""
    return f"max(count_over_time({samples}[{duration(window)}]))"


def births(samples: str, scrape_interval: timedelta) -> str:
    """How many series are younger than two scrapes: 0 when there are only older ones, no result when there is none at all.

    A series is that young when it was not there two scrapes earlier. So is one that comes back after a stop: what it counted before
    its first sample is in no increase either.
    """
    return f"count({samples} unless {samples} offset {duration(2 * scrape_interval)}) or 0 * count({samples})"


def firing(alertname: str) -> str:
    """Every alert of that rule that fires now."""
    return f'ALERTS{{{Matcher("alertname", MatchOperator.EQUAL, alertname)},alertstate="firing"}}'
