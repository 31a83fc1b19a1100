"""What a label or a version says must neither call people nor pose as a link, wherever it is shown (I11). Pure.

Apprise escapes for a service that it writes HTML, Markdown or Slack's own marks to. It leaves plain text as it is, and some services
read marks in plain text all the same.
"""

import re
from typing import Final

_MARKDOWN: Final = re.compile(r"([\\`*_~\[\]()#>|])")
_CALLS: Final = re.compile(r"([@<])(?=\S)")
_NOTHING: Final = "\N{ZERO WIDTH SPACE}"

READ_MARKDOWN: Final = frozenset({"Discord", "Mattermost", "Rocket.Chat"})
CALL_PEOPLE: Final = READ_MARKDOWN | {"DingTalk", "Feishu", "Lark", "WeCom Bot"}


def plain(text: str, service: str) -> str:
    """`text` for `service`, by the name that Apprise has for it, so that it is read as it stands."""
    if service in READ_MARKDOWN:
        text = _MARKDOWN.sub(r"\\\1", text)
    if service in CALL_PEOPLE:
        text = _CALLS.sub(rf"\1{_NOTHING}", text)
    return text
