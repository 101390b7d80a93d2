"""Alerts: what fires, by which rules, who looks after it, what is kept quiet, and what the past says."""

from __future__ import annotations

import time
from argparse import Namespace
from contextlib import closing, suppress

from opsqueue.alerts.evaluate import NO_DATA
from opsqueue.cli import alerts_receive, times
from opsqueue.cli import alerts_show as show
from opsqueue.cli.output import Out, note
from opsqueue.cli.parsing import Parser, add_verb, verbs
from opsqueue.cli.record import needed, no_record, opened
from opsqueue.cli.text import safe
from opsqueue.client import Operations, actor
from opsqueue.errors import InvalidRequest, OpsqueueError
from opsqueue.model.duration import duration
from opsqueue.model.request import strict_json
from opsqueue.pipeline import alert_desk, alert_people, alert_rules, alert_whole
from opsqueue.pipeline.alerting import rules_now
from opsqueue.settings import Settings, load
from opsqueue.store.engine import Connection


def options(parser: Parser) -> None:
    """What it takes."""
    parser.ends((0, 2, 9, 10, 12), "opsqueue alerts list", "opsqueue alerts ack 1a2b3c4d")
    below = verbs(parser)
    lists = add_verb(below, "list", "what fires, or is about to")
    lists.add_argument("--all", action="store_true", help="then what fired and ended since --since")
    lists.add_argument("--since", metavar="TIME", default="7d", help="with --all: from when on (default: 7d)")
    lists.ends((0, 2, 12), "opsqueue alerts list --all", "opsqueue alerts list --all --since 30d")
    whole = add_verb(below, "show", "all about one: its repair and why there is none, who was told, its history")
    whole.add_argument("alert", metavar="ID", help="as `alerts list` shows it; its beginning is enough")
    whole.ends((0, 2, 10, 12), "opsqueue alerts show 1a2b3c4d")
    rules = add_verb(below, "rules", "the rules, where they come from, and whether they have answers")
    rules.ends((0, 2, 12), "opsqueue alerts rules")
    _rule_options(below)
    ack = add_verb(below, "ack", "say that somebody looks after it: no repeats, nobody else is called")
    ack.add_argument("alert", metavar="ID", help="as `alerts list` shows it; its beginning is enough")
    ack.add_argument("--for", dest="lasting", metavar="DURATION", default="4h", help="how long it counts (default: 4h)")
    ack.add_argument("--comment", default="", help="what is being done")
    ack.add_argument("--end", action="store_true", help="take the acknowledgement back")
    ack.ends((0, 2, 9, 10, 12), "opsqueue alerts ack 1a2b3c4d --comment 'disk is being replaced'")
    resolve = add_verb(below, "resolve", "end it by hand; where the condition still holds it fires again")
    resolve.add_argument("alert", metavar="ID", help="as `alerts list` shows it; its beginning is enough")
    resolve.add_argument("--comment", required=True, help="why")
    resolve.ends((0, 2, 9, 10, 12), "opsqueue alerts resolve 1a2b3c4d --comment 'the disk was replaced'")
    _silence_options(below)
    stats = add_verb(below, "stats", "how many, how soon somebody looked, how long they lasted, which rules make noise")
    stats.add_argument("--since", metavar="TIME", default="30d", help="from when on (default: 30d)")
    stats.ends((0, 2, 12), "opsqueue alerts stats --since 7d")
    alerts_receive.options(below)


def _rule_options(below: object) -> None:
    add = add_verb(below, "add", "add a rule, or change one that was added")
    add.add_argument("rule", metavar="NAME")
    add.add_argument(
        "--condition", metavar="TEXT", help="`disk_usage:* > 90`, or a text in CEL; or give the fields with --set"
    )
    add.add_argument(
        "--action", action="append", metavar="ACTION", help="`notify`, `notify:CHANNEL`, or JSON as in docs/alerts.md"
    )
    add.add_argument("--set", dest="more", metavar="JSON", default="{}", help="further fields: '{\"for_s\": 600}'")
    add.add_argument(
        "--update", action="store_true", help="change a rule that is there, or take the place of a built-in one"
    )
    add.ends((0, 2, 9, 12), "opsqueue alerts add swap --condition 'swap_usage > 50' --action notify")
    remove = add_verb(below, "remove", "forget a rule that was added; its alerts end")
    remove.add_argument("rule", metavar="NAME")
    remove.ends((0, 2, 10, 12), "opsqueue alerts remove swap")
    test = add_verb(below, "test", "what a rule would have done with the stored numbers; nobody is told")
    test.add_argument("rule", metavar="NAME")
    test.add_argument("--since", metavar="TIME", default="7d", help="from when on (default: 7d)")
    test.add_argument("--condition", metavar="TEXT", help="try this condition, under a name of no rule")
    test.add_argument("--set", dest="more", metavar="JSON", default="{}", help="further fields, with --condition")
    test.ends((0, 2, 10, 12), "opsqueue alerts test cpu_usage --since 7d")


def _silence_options(below: object) -> None:
    add = add_verb(below, "silence", "keep alerts quiet for a time; they are recorded all the same")
    add.add_argument(
        "matchers", nargs="*", metavar="MATCHER", help='such as host="web-1" or rule=~"disk.*"; all must fit'
    )
    add.add_argument("--for", dest="lasting", metavar="DURATION", help="how long: 90m, 2h, 3d")
    add.add_argument("--comment", default="", help="why; needed")
    add.add_argument("--list", action="store_true", help="the silences that stand or are to come")
    add.add_argument("--end", metavar="ID", help="end this one now")
    add.ends((0, 2, 9, 10, 12), "opsqueue alerts silence 'host=\"web-1\"' --for 2h --comment 'new disk'")


def run(given: Namespace) -> int:
    """Do what the verb says."""
    out, settings = Out.of(given), load(given.config)
    if given.verb in _READS or (given.verb == "silence" and given.list):
        return _read(out, settings, given)
    return _WRITES[given.verb](out, settings, given)


def _read(out: Out, settings: Settings, given: Namespace) -> int:
    now = time.time()
    with opened(settings) as store:
        if store is None:
            note(no_record(settings))
            return 0
        with store.read() as connection:
            if given.verb == "list":
                since = times.moment(given.since, now=now, zone=settings.timezone) if given.all else None
                show.alerts(out, alert_desk.alerts_json(connection, since=since))
                show.faults(alert_desk.faults_json(connection))
            elif given.verb == "rules":
                show.rules(out, alert_desk.rules_json(settings, connection, look_up=True))
            elif given.verb == "silence":
                show.silences(out, alert_desk.silences_json(connection, now))
            else:
                since = times.moment(given.since, now=now, zone=settings.timezone)
                show.stats(out, alert_desk.stats_json(settings, connection, since=since, now=now))
    return 0


def _test(out: Out, settings: Settings, given: Namespace) -> int:
    from opsqueue.connectors.inventory.directory import read_inventory  # noqa: PLC0415  # only this verb needs it

    now = time.time()
    since = times.moment(given.since, now=now, zone=settings.timezone)
    with needed(settings) as store, store.read() as connection:
        if given.condition is None:
            rule = alert_rules.rule_named(settings, connection, given.rule)
        else:
            rule = alert_rules.parse_rule(given.rule, given.condition, **_fields(given.more))
        found = alert_rules.try_rule(
            connection, settings, read_inventory(settings), rule, now=now, seconds=max(0.0, now - since)
        )
    show.replayed(out, rule, found)
    return 0


def _show(out: Out, settings: Settings, given: Namespace) -> int:
    from opsqueue.pipeline.assemble import assemble  # noqa: PLC0415  # only this verb needs hosts and windows

    with needed(settings):
        world = assemble(settings, dispatch=lambda _operation: None, worker="client")
        with closing(world.store), world.store.read() as connection:
            found = alert_whole.alert_whole(world, connection, given.alert)
    show.whole(out, found)
    return 0


def _ack(out: Out, settings: Settings, given: Namespace) -> int:
    with needed(settings) as store:
        if given.end:
            known = alert_people.unack(store, given.alert, by=actor(), now=time.time(), comment=given.comment)
            show.said(out, alert_desk.alert_json(known), f"{known.called} on {known.host}: nobody looks after it now")
            return 0
        seconds = duration(given.lasting)
        known = alert_people.ack(
            store, given.alert, by=actor(), now=time.time(), seconds=seconds, comment=given.comment
        )
    show.said(out, alert_desk.alert_json(known), f"{known.called} on {known.host}: acknowledged for {given.lasting}")
    return 0


def _resolve(out: Out, settings: Settings, given: Namespace) -> int:
    with needed(settings) as store:
        over = alert_people.resolve_by_hand(store, given.alert, by=actor(), now=time.time(), comment=given.comment)
    show.said(out, alert_desk.alert_json(over), f"{over.called} on {over.host} is over")
    return 0


def _silence(out: Out, settings: Settings, given: Namespace) -> int:
    now = time.time()
    with needed(settings) as store:
        if given.end:
            ended = alert_people.move_silence(store, given.end, now=now)
            show.said(out, alert_desk.silence_json(ended, now), f"{ended.id} is over")
            return 0
        if given.lasting is None:
            raise InvalidRequest("say how long with --for, such as --for 2h")
        made = alert_people.silence(
            store, given.matchers, now=now, seconds=duration(given.lasting), by=actor(), comment=given.comment
        )
        with store.read() as connection:
            quiet = alert_people.keeps_quiet(connection, made, now)
            doubts = list(alert_people.strangers(made, _names(settings, connection)))
    said = f"{made.id} stands for {given.lasting}, and keeps {quiet} {'alert' if quiet == 1 else 'alerts'} quiet now"
    show.said(out, {**alert_desk.silence_json(made, now), "keeps_quiet": quiet, "doubts": doubts}, said)
    for doubt in doubts:
        note(safe(doubt))
    return 0


def _names(settings: Settings, connection: Connection) -> dict[str, set[str]]:
    """The hosts and rules that a matcher can mean; those of alerts from elsewhere, too."""
    from opsqueue.connectors.inventory.directory import read_inventory  # noqa: PLC0415  # only a silence needs it

    known = {"rule": {*rules_now(settings, connection), NO_DATA}}
    with suppress(OpsqueueError):  # the silence stands, whatever the inventory says
        here = {one["host"] for one in alert_desk.alerts_json(connection) if one["host"]}
        known["host"] = {*read_inventory(settings), *here}
    return known


def _add(out: Out, settings: Settings, given: Namespace) -> int:
    actions = [strict_json(one) if one.startswith("{") else one for one in given.action or ["notify"]]
    condition = {} if given.condition is None else given.condition
    rule = alert_rules.parse_rule(given.rule, condition, actions, **_fields(given.more))
    client = Operations(settings)
    added = client.keep_alert_rule(rule, update=given.update)
    instead = ", in place of the built-in rule" if added.name in alert_rules.usual_rules(settings) else ""
    show.said(out, alert_desk.rule_json(added, "added"), f"{added.name} counts from the next reading on{instead}")
    if why := alert_rules.never_asked_for(added, settings):
        note(safe(why))
    return 0


def _remove(out: Out, settings: Settings, given: Namespace) -> int:
    with needed(settings) as store:
        alert_people.remove_rule(store, given.rule)
    show.said(out, {"name": given.rule, "removed": True}, f"{given.rule} is removed; its alerts end")
    return 0


def _fields(text: str) -> dict[str, object]:
    try:
        found = strict_json(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"--set is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidRequest("--set is a JSON object of fields of a rule")
    return found


_READS = frozenset({"list", "rules", "stats"})
_WRITES = {
    "test": _test,
    "show": _show,
    "ack": _ack,
    "resolve": _resolve,
    "silence": _silence,
    "add": _add,
    "remove": _remove,
    "receive": alerts_receive.run,
}
