"""What somebody may send who wants more than to be read: each text would do something in one place or another.

`pwn` stands in every one of them, so that a place where none may be is searched with one word.
"""

from typing import Final

HOSTILE: Final = {
    "substitution": "$(touch pwned) `touch pwned`",
    "command": "; touch pwned && touch pwned | tee pwned #",
    "newline command": "x\ntouch pwned\n",
    "option": "--kubeconfig=/tmp/pwned",
    "short option": "-rf pwned",
    "path": "../../../../etc/pwned/..%2f..%2fpwned",
    "promql": '"} or vector(1) or pwned{a="',
    "promql regex": '.*|pwned"}[1m])) or on() vector(1) #',
    "macro": "pwned $selector $window ${target.version} ${vars.x} $ROLLBACKD_ATTEMPT",
    "template": "pwned {{ 7 * 7 }} {% raw %} {0.__class__} %(x)s %s %n",
    "chat": "<!channel> <@U024> pwned & co",
    "script": "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">",
    "attribute": "\" onmouseover=\"document.title='pwned'\" ' onfocus='pwned",
    "entity": "&lt;pwned&gt; &#x3c;pwned&#x3e; &amp;",
    "markdown link": "[pwned](javascript:document.title) <https://pwned.example> https://pwned.example www.pwned.example",
    "markdown image": "![pwned](https://pwned.example/x.png)",
    "markdown table": "pwned | a | b |\n|---|---|\n| c | d |",
    "markdown fence": "```\npwned\n```\n# pwned\n~~~\npwned",
    "markdown block": "# pwned\n\n> pwned\n\n1. pwned\n\n- [x] pwned\n\n***\n\n**pwned** _pwned_ ~~pwned~~ \\",
    "spreadsheet": "=cmd|' /C pwned'!A0",
    "colour": "\x1b[31mpwned\x1b[2J\x1b[H",
    "terminal link": "\x1b]8;;https://pwned.example\x1b\\pwned\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;cHduZWQ=\x07pwned",
    "unended sequence": "\x1b]0;pwned",
    "eight bit": "\x9b31mpwned\x9d0;pwned\x9c\x90pwned\x9c",
    "direction": "\u202egnp.denwp\u202c \u2066pwned\u2069 \u200fpwned",
    "invisible": "p\u200bw\u2060n\u00ade\ufeffd \U000e0041pwned",
    "line": "pwned\u2028pwned\u2029pwned\x85pwned\x0bpwned\x0cpwned\rpwned",
    "log": 'pwned\n{"at": "2026-01-01T00:00:00.000Z", "level": "critical", "event": "pwned"}',
    "stream": "pwned\n\nevent: pwned\ndata: {}\n\n",
    "header": "pwned\r\nSet-Cookie: pwned=1\r\n\r\n<html>",
    "long": "pwned" * 700,
}
"""Without NUL and lone surrogates, which no JSON that rollbackd reads may have."""

SHORT: Final = {name: text for name, text in HOSTILE.items() if len(text) < 400}
SENTENCES: Final = tuple(" ".join(texts) for texts in zip(*[iter(SHORT.values())] * 4, strict=False))
"""All of the short ones, in sentences that a reason may hold; what is left over by four is in `REST`."""

REST: Final = " ".join(list(SHORT.values())[len(SENTENCES) * 4 :])
EVERYTHING: Final = "\n".join(HOSTILE.values())

STEERING: Final = frozenset(
    {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))} - {"\n", "\t"}
    | {"\u00ad", "\u061c", "\u180e", "\ufeff", "\U000e0041"}
    | {chr(code) for first, last in ((0x200B, 0x200F), (0x2028, 0x202E), (0x2060, 0x206F)) for code in range(first, last + 1)}
)
"""Characters that steer a terminal, turn the direction of writing or are not seen."""


def steers(text: str) -> set[str]:
    """Those of `text` that no output may have."""
    return {character for character in text if character in STEERING}
