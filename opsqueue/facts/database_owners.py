"""The SQL that finds what would run the code of others with our rights, where we are superuser of a PostgreSQL.

A superuser who restores a dump, counts a table or deletes of it runs what its owner wrote: in constraints, generated
columns, partition keys and casts of foreign keys while rows are written; in indexes and statistics, because the planner
computes what is constant in them; in triggers and rules. What the server runs as the owner of the relation is left
out: the making of an index, and a materialized view of somebody who is no superuser.

`pg_depend` knows nothing of functions that came with the server, and some of those run any SQL; so functions are read
out of the stored expressions. The texts stand between double quotes in sh: no dollar, no backslash, no backtick.
"""

from __future__ import annotations

# A superuser's function is his own word. Of what came with the server, others may not hand us what runs SQL or changes
# the session: what not everybody may call, what reads tables into XML, and all volatile ones but those that only tell.
_FUNCTIONS = """
  f as (select p.oid, p.oid::regprocedure::text as name, pg_get_userbyid(p.proowner)::text as owner,
      not exists (select from pg_roles r where r.oid = p.proowner and r.rolsuper) as others,
      not has_function_privilege('public', p.oid, 'execute') or p.oid < 16384 and (p.proname ~ '_to_xml' or
        p.provolatile = 'v' and p.proname not in ('random', 'clock_timestamp', 'timeofday', 'gen_random_uuid',
          'nextval', 'currval', 'lastval', 'setval', 'pg_sleep')) as risky
    from pg_proc p)"""

_EXPRESSIONS = """
  expressions (place, of, tree) as (
    select 'the constraint ' || conname, conrelid, conbin::text from pg_constraint where conrelid <> 0
    union all select 'the generated column ' || a.attname, d.adrelid, d.adbin::text from pg_attrdef d
      join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum where a.attgenerated <> ''
    union all select 'the index ' || indexrelid::regclass, indrelid, concat(indexprs, indpred) from pg_index
    union all select 'the partition key', partrelid, partexprs::text from pg_partitioned_table
    union all select 'the statistics ' || stxname, stxrelid, to_jsonb(s) ->> 'stxexprs' from pg_statistic_ext s),
  owned (place, tree, ours, relation) as (
    select concat(e.place, ' of ', e.of::regclass), e.tree, r.rolsuper, e.of
      from expressions e join pg_class c on c.oid = e.of join pg_roles r on r.oid = c.relowner
    union all select concat('the constraint ', k.conname, ' of the domain ', k.contypid::regtype), k.conbin::text,
      r.rolsuper, 0 from pg_constraint k join pg_type t on t.oid = k.contypid join pg_roles r on r.oid = t.typowner)"""

# Each row of `named` is a place and one function that it calls by itself.
_CALLS = """
  calls (place, ours, relation, function) as (
    select o.place, o.ours, o.relation, case m[1] when 'opno' then
      (select oprcode::oid from pg_operator where oid = m[2]::oid) else m[2]::oid end
      from owned o, regexp_matches(o.tree, ':(funcid|opno|aggfnoid|winfnoid|elemfuncid) ([0-9]+)', 'g') m
    union all select 'the range type ' || rngtypid::regtype, true, 0, one
      from pg_range, unnest(array[rngsubdiff::oid, rngcanonical::oid]) one
    union all {more})"""

_END = """
  select distinct left(regexp_replace(place, '[[:cntrl:]]', ' ', 'g'), 200) as place,
    left(regexp_replace(function, '[[:cntrl:]]', ' ', 'g'), 200) as function,
    regexp_replace(owner, '[[:cntrl:]]', ' ', 'g') as owner
  from (select place, f.name, f.owner from calls join f on f.oid = calls.function
    where (f.others or f.risky and not calls.ours) {rest}) told (place, function, owner) order by 1, 2 limit 20"""

# A materialized view of a superuser is filled with his rights, also through views that others made.
_OF_A_RESTORE = """
    select concat('the materialized view ', v.top::regclass), r.rolsuper, 0, case m[1] when 'opno' then
      (select oprcode::oid from pg_operator where oid = m[2]::oid) else m[2]::oid end
      from views v join pg_rewrite w on w.ev_class = v.oid join pg_class c on c.oid = v.oid
      join pg_roles r on r.oid = c.relowner, regexp_matches(w.ev_action::text,
        ':(funcid|opno|aggfnoid|winfnoid|elemfuncid) ([0-9]+)', 'g') m
    union all select concat('a cast of the foreign key ', k.conname, ' of ', k.conrelid::regclass), true, 0,
      s.castfunc from pg_constraint k
      join pg_attribute a on a.attrelid = k.conrelid and a.attnum = any (k.conkey)
      join pg_type t on t.oid = a.atttypid join pg_cast s on s.castsource in (t.oid, t.typbasetype)
      where k.contype = 'f' and s.castcontext = 'i'
    union all select concat('the event trigger ', evtname), true, 0, evtfoid from pg_event_trigger"""
_VIEWS = """
  views (top, oid) as (
    select c.oid, c.oid from pg_class c join pg_roles r on r.oid = c.relowner
      where c.relkind = 'm' and c.relispopulated and r.rolsuper
    union select v.top, d.refobjid from views v join pg_rewrite w on w.ev_class = v.oid
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
        and d.refclassid = 'pg_class'::regclass and d.refobjid <> v.oid
      join pg_class c on c.oid = d.refobjid and c.relkind = 'v')"""

# What a delete reaches: partitions and children, and by foreign keys rows that are deleted (8) or changed (16) too.
_TOUCHED = """
  touched (oid, event) as (
    select to_regclass('$table')::oid, 8
    union select x.oid, x.event from touched t cross join lateral (
      select inhrelid, t.event from pg_inherits where inhparent = t.oid
      union all select conrelid, case when t.event = 8 and confdeltype = 'c' then 8 else 16 end from pg_constraint
        where contype = 'f' and confrelid = t.oid
        and case t.event when 8 then confdeltype else confupdtype end in ('c', 'n', 'd')) x (oid, event))"""
_OF_A_DELETE = """
    select concat('the trigger ', g.tgname, ' of ', g.tgrelid::regclass), false, g.tgrelid, g.tgfoid
      from pg_trigger g join touched t on t.oid = g.tgrelid and g.tgtype & t.event <> 0
      where not g.tgisinternal and g.tgenabled in ('O', 'A')
    union all select concat('the trigger ', g.tgname, ' of ', g.tgrelid::regclass), false, g.tgrelid,
      case m[1] when 'opno' then (select oprcode::oid from pg_operator where oid = m[2]::oid) else m[2]::oid end
      from pg_trigger g join touched t on t.oid = g.tgrelid and g.tgtype & t.event <> 0,
      regexp_matches(g.tgqual::text, ':(funcid|opno) ([0-9]+)', 'g') m where g.tgenabled in ('O', 'A')
    union all select concat('a cast of the column ', a.attname, ' of ', a.attrelid::regclass), true, a.attrelid,
      s.castfunc from touched t0 join pg_attribute a on a.attrelid = t0.oid join pg_type t on t.oid = a.atttypid
      join pg_cast s on s.castsource in (t.oid, t.typbasetype)"""
_RULES = """
  union all select concat('the rule ', w.rulename, ' of ', w.ev_class::regclass), 'what it does', pg_get_userbyid(
      c.relowner)::text from pg_rewrite w join touched t on t.oid = w.ev_class and w.ev_type in ('2', '4')
      join pg_class c on c.oid = w.ev_class join pg_roles r on r.oid = c.relowner
      where w.ev_enabled in ('O', 'A') and not r.rolsuper"""


def _sql(first: str, more: str, rest: str) -> str:
    parts = (_FUNCTIONS, _EXPRESSIONS, first, _CALLS.format(more=more))
    return f"with recursive {','.join(parts)}{_END.format(rest=rest)}"


OF_A_RESTORE = _sql(_VIEWS, _OF_A_RESTORE, "")
"""Three columns: the place, the function that it calls, and whose that is; at most 20 rows."""
_HERE = "and (relation = 0 or relation in (select oid from touched))"
_DELETE = _sql(_TOUCHED, _OF_A_DELETE, f"{_HERE} {_RULES}")

# Nobody else's words are asked for whether we are superuser: it is asked in a database that belongs to the server.
OWNERS = f"""
mighty() {{ [ "$(q "$first" "select count(*) from pg_roles where rolsuper and rolname in (current_user, session_user)
  ")" != 0 ]; }}
others_postgresql() {{
  mighty || return 0
  said=$(q "$1" "select 'others', current_database(), o.* from ($2) o") || said=${{said:-no answer}}
  case $said in '') ;; others"$tab"*) printf '%s\\n' "$said" ;;
  *) row others "$1" "$(printf '%s' "$said" | tr '\\n\\t' '  ' | cut -c 1-300)" '' '' ;; esac
}}
others_of_a_restore() {{
  q "$first" "select datname from pg_database where datallowconn and not datistemplate
    and datname not like 'opsqueue\\\\_scratch\\\\_%' order by 1" |
  while IFS= read -r name; do wanted "$name" && others_postgresql "$name" "{OF_A_RESTORE}"; done
}}
others_of_a_delete() {{ others_postgresql "$1" "{_DELETE}"; }}
"""  # noqa: S608  # constant texts, put together
