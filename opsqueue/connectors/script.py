"""All script facts of a host as one sh text, and its output taken apart again.

The text is given to `sh -s` on stdin, here or over SSH: one round trip, no login shell in between, no limit on
the length of a command line, and nothing of it in `ps`. It stands in one brace group, so that a text that was cut
off on its way is not run at all. Every script runs in an sh of its own, with stdin closed, under its own time
limit, between two lines that hold a marker nobody can guess; what a login script prints before them is ignored.
They run one after another, but for those that may run side by side (`lanes`), which come last.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from opsqueue.connectors.lanes import divided, side_by_side
from opsqueue.model.fact import CUT_OFF, Fact, Script, read, unknown
from opsqueue.model.plan import Result

# LC_ALL=C: parsers read English and points in numbers. The sbin directories are missing on the PATH that a
# service or a non-interactive SSH session gets.
_ENVIRONMENT = "LC_ALL=C; PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export LC_ALL PATH"

# ask NUMBER SECONDS SUDO TEXT [ARGS...]: the time limit stands inside of sudo, because only root may end what
# root started. busybox and coreutils agree on `timeout -k`; without it the whole connection has a time limit.
_ASK = """\
ask() {
number=$1; seconds=$2; sudo=$3; shift 3
limit=; if [ "$limits" ]; then limit="timeout -k 2 $seconds"; fi
if [ "$user" = 0 ]; then sudo=; fi
say begin "$number"
$sudo $limit sh -c "$@" </dev/null
code=$?
say end "$number" "$code"
}
say() {
read -r now rest 2>/dev/null </proc/uptime || now=$(date +%s)
printf '\\n@@%s %s %s %s %s\\n' "$mark" "$1" "$2" "${3:-0}" "${now%.*}"
printf '\\n@@%s %s %s %s %s\\n' "$mark" "$1" "$2" "${3:-0}" "${now%.*}" >&2
}
"""

# A shell that is asked again and again knows this already.
_ONCE = """\
if [ -z "${limits+known}" ]; then
limits=; if timeout -k 1 5 true </dev/null >/dev/null 2>&1; then limits=yes; fi
fi
user=${user:-$(id -u)}
"""


def scripts(facts: Iterable[Fact]) -> list[tuple[Fact, Script]]:
    """The facts that are asked with a script, each with it, in their order."""
    return [(fact, fact.ask) for fact in facts if isinstance(fact.ask, Script)]


def compose(facts: Sequence[Fact], marker: str) -> str:
    """One sh text that answers all script facts; `marker` is random letters and digits, used once."""
    if not re.fullmatch(r"[A-Za-z0-9]{16,}", marker):
        raise ValueError("a marker is at least 16 letters and digits")
    division = divided([script for _fact, script in scripts(facts)])
    asks = [_one(number, script) for number, script in division.row]
    asks += side_by_side([[_one(number, script) for number, script in lane] for lane in division.lanes], marker)
    # Out of the environment at once: only the script that a secret is meant for gets it back.
    hide = [f"s_{name}=${name}; unset {name}" for name in secret_names(facts)]
    return "\n".join(["{", _ENVIRONMENT, *hide, f"mark={marker}", _ASK, _ONCE, *asks, "exit 0", "}", ""])


def secret_names(facts: Iterable[Fact]) -> dict[str, tuple[str, str]]:
    """Under which names the composed text expects secrets: the fact, and the name that its script has for it.

    Whoever runs the text gives them to its sh by environment, or as assignments before it on stdin; never in argv.
    """
    return {
        _secret_name(number, name): (fact.name, name)
        for number, (fact, script) in enumerate(scripts(facts))
        for name in script.secrets
    }


def _secret_name(number: int, name: str) -> str:
    return f"OPSQUEUE_SECRET_{number}_{name}"


def seconds_of(facts: Sequence[Fact]) -> float:
    """The longest time that the composed text can take."""
    return divided([script for _fact, script in scripts(facts)]).seconds + 5.0


def _one(number: int, script: Script) -> str:
    keep = f" --preserve-env={','.join(script.secrets)}" if script.secrets else ""
    sudo = f"sudo -n{keep}" if script.sudo else ""
    text = f"{_ENVIRONMENT}\n{script.text}"
    if "\0" in "".join((text, *script.args)):
        raise ValueError("a value of a script cannot hold a zero byte")
    line = shlex.join(("ask", str(number), str(script.timeout), sudo, text, "opsqueue", *script.args))
    given = [f"{name}=$s_{_secret_name(number, name)}; export {name}; " for name in script.secrets]
    return f"( {''.join(given)}{line} )" if given else line


def split(text: str, marker: str, facts: Sequence[Fact], errors: str = "") -> dict[str, Result]:
    """What each script answered, by fact; one whose end is missing was cut off and is left out.

    `text` is the stdout and `errors` the stderr of the composed text.
    """
    out, err = _sections(text, marker), _sections(errors, marker)
    found = {}
    for number, (fact, script) in enumerate(scripts(facts)):
        if number in out:
            body, code, seconds = out[number]
            problem = err[number][0] if number in err else ""
            found[fact.name] = _result(body, problem, code, seconds, script.timeout)
    return found


def answers(facts: Sequence[Fact], raw: Mapping[str, Any]) -> dict[str, Any]:
    """The parsed answers by name; a fact without a raw answer is unknown."""
    missing = unknown(CUT_OFF)
    return {fact.name: _parsed(fact, raw[fact.name]) if fact.name in raw else missing for fact in facts}


def _parsed(fact: Fact, raw: Any) -> Any:
    # What is already unknown (a probe that could not run, a part that was too late) has nothing to parse.
    if isinstance(raw, Mapping) and set(raw) == {"unknown"}:
        return raw
    if isinstance(raw, Result) and raw.exit_code and not raw.stdout and raw.stderr.startswith("sudo: "):
        said = raw.stderr.strip().splitlines()[-1]
        return unknown(f"it cannot be asked as root ({said}): allow `sudo -n` there, or say sudo=false")
    return read(fact, raw)


def _sections(text: str, marker: str) -> dict[int, tuple[str, int, int]]:
    """Between begin and end of each number: the text, the exit code, the seconds."""
    found = {}
    for begin, end in pairwise(f"\n{text}".split(f"\n@@{marker} ")[1:]):
        one, two = _BEGIN.match(begin), _END.match(end)
        if one and two and one[1] == two[1]:
            found[int(one[1])] = (begin[one.end() :], int(two[2]), int(two[3]) - int(one[2]))
    return found


_BEGIN = re.compile(r"begin (\d{1,9}) 0 (\d{1,12})\n")
_END = re.compile(r"end (\d{1,9}) (\d{1,9}) (\d{1,12})\n")


def _result(body: str, problem: str, code: int, seconds: int, limit: int) -> Result:
    # `timeout` answers 124, or 137 when it had to kill; a script may end with the same codes by itself, but not
    # at its limit. The clock has whole seconds.
    late = code in {124, 137} and seconds >= limit - 1
    return Result(exit_code=None if late else code, stdout=body, stderr=problem, seconds=float(seconds), timed_out=late)
