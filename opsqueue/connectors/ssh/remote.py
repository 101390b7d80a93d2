"""The texts that are sent to a host: plain POSIX sh that dash, bash and busybox read alike.

The login shell, whichever it is, only gets a fixed line that puts a clean /bin/sh in its place; everything else goes
through its stdin. So nothing of it stands in `ps`, no login shell reads our quotes, and no length is too long.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from opsqueue.model.fact import Fact, Script

_PATH = "$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_CLEAN = f'exec env -i "HOME=$HOME" "PATH={_PATH}" LANG=C LC_ALL=C'
WAITING = f"exec /bin/sh -c '{_CLEAN} /bin/sh'"
"""Becomes a shell that reads what to do from its stdin."""

_LONGEST = 131_072
"""Bytes of one argument with its ending zero; Linux takes no longer one."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# All processes of an SSH channel are one session, whose first process is our sh. A process in it that made a group of
# its own (timeout does) is found by that; one that made a session of its own wanted to outlive the command.
_SWEEP = r"""sweep() {
found=
for one in /proc/[0-9]*; do
if { read -r line <"$one/stat"; } 2>/dev/null; then
set -- "$1" "$2" ${line##*) }
if [ "$6" = "$2" ] && [ "${one#/proc/}" != "$$" ]; then
found=yes
kill "-$1" "${one#/proc/}" 2>/dev/null
fi
fi
done
}
"""

_MARKED = r"""[ -r /proc/self/environ ] || exit 3
mark=OPSQUEUE_MARK=$1
look() {
if printf 'a\0' | grep -qzxF a 2>/dev/null; then
"$@" grep -lzxF -e "$mark" /proc/[0-9]*/environ
else
for one in /proc/[0-9]*/environ; do "$@" cat "$one" | tr '\0' '\n' | grep -xF -e "$mark"; done
fi
}
if [ "$(look 2>/dev/null)" ]; then echo busy; exit; fi
if [ "$(id -u)" != 0 ] && [ "$(look sudo -n 2>/dev/null)" ]; then echo busy; exit; fi
echo quiet
"""


def hello(marker: str) -> str:
    """First words to a waiting shell: it says which process it is. Nothing is started for it."""
    return f"cd /; unset OLDPWD\nprintf '\\n@@{marker} hello %s\\n' \"$$\"\n"


def acquaintance(marker: str) -> str:
    """Before the first script: the shell says who it is, and knows for every later one what it can."""
    return (
        "user=$(id -u); limits=; timeout=$(command -v timeout)\n"
        "if timeout -k 1 5 true </dev/null >/dev/null 2>&1; then limits=yes; else timeout=; fi\n"
        f'printf \'\\n@@{marker} who %s %s\\n\' "$user" "$timeout"\n'
    )


def framed(text: str, marker: str) -> str:
    """The text in a subshell, with a line before it on stdout and one behind it on both streams."""
    done = f"printf '\\n@@{marker} done\\n'"
    return f"printf '\\n@@{marker} ready\\n'\n(\n{text}\n)\n{done}; {done} >&2\n"


def marked(mark: str) -> Fact:
    """Asks whether a process with this mark lives; `busy` or `quiet`, or exit code 3 where that cannot be seen."""
    return Fact(name="marked", ask=Script(text=_MARKED, args=(mark,), timeout=30), parse=lambda result: result)


def why_not(argv: Sequence[str], env: Mapping[str, str], stdin: str) -> str:
    """Why no host could start this command; empty when it could."""
    texts = (*argv, *env.values())
    if any("\0" in text for text in texts):
        return "an argument holds a zero byte"
    try:
        longest = max(len(as_bytes(text)) for text in texts)
        as_bytes(stdin)
    except UnicodeEncodeError as error:
        return f"it cannot be written in UTF-8: {error.reason}"
    if longest >= _LONGEST:
        return f"an argument is longer than {_LONGEST - 1} bytes"
    if strange := [name for name in env if not _NAME.fullmatch(name)]:
        return f"{strange[0]!r} is no name of an environment variable"
    return ""


def as_bytes(text: str) -> bytes:
    """As it is sent; bytes that were no text when they were read are sent as they were."""
    return text.encode(errors="surrogateescape")


def one_off(text: str) -> str:
    """What the login shell gets so that exactly these bytes of stdin are run, and the rest is the command's own."""
    # dd reads byte by byte and so not one too many; what it reads is checked by the braces around the text.
    inner = f'/bin/sh -c "eval \\"\\$(dd bs=1 count={len(as_bytes(text))} 2>/dev/null)\\""'
    return f"exec /bin/sh -c '{_CLEAN} {inner}'"


def command(argv: Sequence[str], env: Mapping[str, str], seconds: int, marker: str) -> str:
    """Runs one command, and ends its whole session when `timeout` said that it was late."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items())
    begun = f"printf '\\n@@{marker} begun %s\\n'"
    return (
        f"{{\n{_SWEEP}cd /; unset OLDPWD\noq_began=0; read -r oq_began oq_rest </proc/uptime\n{exports}"
        # Where nobody listens any more this fails, and what was given up already does not begin.
        f'{{ {begun} "$$" && {begun} "$$" >&2; }} || exit 1\n{shlex.join(argv)}\ncode=$? IFS=" "\n'
        "case $code in 124 | 137 | 143)\nended=0; read -r ended rest </proc/uptime\n"
        f'if [ $((${{ended%.*}} - ${{oq_began%.*}})) -ge {seconds} ]; then sweep KILL "$$"; fi ;;\nesac\n'
        "exit $code\n}\n"
    )


def end_session(leader: int) -> str:
    """Ends a session that ran over its time, politely and then not; nothing when its first process has gone."""
    return (
        f"{{\n{_SWEEP}"
        f'read -r line <"/proc/{leader}/stat" || exit 0\nset -- ${{line##*) }}\n[ "$4" = {leader} ] || exit 0\n'
        f"sweep TERM {leader}\n"
        "for wait in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do\n"
        f'sleep 0.1\nsweep 0 {leader}\n[ "$found" ] || exit 0\ndone\n'
        f"sweep KILL {leader}\nexit 0\n}}\n"
    )
