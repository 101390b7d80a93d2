"""The sh texts that look at the indexes of one table before one is built, and at those that nobody uses.

An index counts as unused only where nothing else needs it: it is not unique, holds no constraint and no replica
identity, is not attached to a partitioned one, gives the planner no statistics of an expression, does not order the
table (cluster), and does not begin with a column of a foreign key. The counts begin with the last reset of the
statistics, which a crash is too; where none is known, the files of the database say that it is not older.
"""

from __future__ import annotations

_PG_BUILT = """
  select 'kind', relkind from pg_class where oid = to_regclass('$table');
  select 'size', pg_table_size(oid) from pg_class where oid = to_regclass('$table');
  select 'column', attname from pg_attribute where attrelid = to_regclass('$table') and attnum > 0
    and not attisdropped order by attnum;
  select 'named', i.relname, case when x.indisunique then 'unique' else 'plain' end,
    case when x.indisvalid then 'valid' else 'invalid' end,
    case when x.indpred is null and x.indexprs is null and x.indnatts = x.indnkeyatts and a.amname = 'btree'
      and 0 = all (x.indoption::int2[]) then 'simple' else 'special' end,
    (select string_agg(c.attname, ',' order by k.at) from unnest(x.indkey::int2[]) with ordinality k(number, at)
      join pg_attribute c on c.attrelid = x.indrelid and c.attnum = k.number)
  from pg_index x join pg_class i on i.oid = x.indexrelid join pg_am a on a.oid = i.relam
  where x.indrelid = to_regclass('$table') and i.relname !~ '[[:cntrl:]]' order by i.relname"""

_PG_BORN = """select floor(extract(epoch from modification)) from pg_stat_file(format('base/%s/PG_VERSION',
    (select oid from pg_database where datname = current_database())), true)"""

_PG_UNUSED = """
  select 'since', datname, coalesce(floor(extract(epoch from d.stats_reset)), case when '$born' <> '' then
    floor(greatest(extract(epoch from b.stats_reset), nullif('$born', '')::numeric)) end)
  from pg_stat_database d cross join pg_stat_bgwriter b where datname = current_database();
  select 'unused', current_database(), n.nspname, t.relname, i.relname, pg_relation_size(i.oid)
  from pg_index x join pg_class i on i.oid = x.indexrelid join pg_class t on t.oid = x.indrelid
  join pg_namespace n on n.oid = i.relnamespace
  where i.relkind = 'i' and pg_stat_get_numscans(i.oid) = 0 and x.indisvalid and t.relpersistence <> 't'
  and not (x.indisunique or x.indisprimary or x.indisexclusion or x.indisreplident or x.indisclustered)
  and not i.relispartition and x.indexprs is null and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  and not exists (select from pg_constraint k where k.conindid = i.oid
    or k.contype = 'f' and k.conrelid = x.indrelid and x.indkey[0] = any (k.conkey))
  and concat(n.nspname, t.relname, i.relname) !~ '[[:cntrl:]]' order by n.nspname, i.relname"""

_MYSQL_BUILT = """
  select 'kind', coalesce(max(engine), 'absent') from information_schema.tables where table_schema = '$only'
    and table_name = '$plain' and table_type = 'BASE TABLE';
  select 'column', column_name from information_schema.columns where table_schema = '$only' and table_name = '$plain'
    order by ordinal_position;
  select 'named', index_name, if(max(non_unique), 'plain', 'unique'), 'valid',
    if(max(index_type) = 'BTREE' and max(sub_part) is null, 'simple', 'special'),
    group_concat(column_name order by seq_in_index) from information_schema.statistics
    where table_schema = '$only' and table_name = '$plain' group by index_name order by 2"""

_SQLITE_BUILT = """select 'named', l.name, case when l.\\"unique\\" then 'unique' else 'plain' end, 'valid',
    case when l.partial or exists (select 1 from pragma_index_info(l.name) where name is null) then 'special'
      else 'simple' end,
    (select group_concat(name) from (select name from pragma_index_info(l.name) order by seqno))
    from pragma_index_list('$plain') l order by 2"""

INDEXES = f"""
one_database() {{ case $only in '' | *' '*) return 1 ;; esac; [ "$table" ]; }}
room_postgresql() {{
  kb=$(df -Pk -- "$(q "$first" 'show data_directory')" 2>/dev/null | awk 'NR == 2 {{ print $4 }}')
  row room "${{kb:+$((kb * 1024))}}"
}}
built_postgresql() {{ if one_database; then q "$only" "{_PG_BUILT}"; fi; }}
built_mysql() {{
  plain=$(printf '%s' "$table_mysql" | tr -d '`')
  if one_database; then q "{_MYSQL_BUILT}"; fi
}}
built_sqlite() {{
  plain=$(printf '%s' "$table_mysql" | tr -d '`')
  [ "$plain" ] || return
  row kind "$(q "select coalesce(max(type), 'absent') from sqlite_schema where name = '$plain'")"
  q "select 'column', name from pragma_table_info('$plain') order by cid"
  q "{_SQLITE_BUILT}"
}}
unused_postgresql() {{
  born=$(q "$1" "{_PG_BORN}") || born=
  q "$1" "{_PG_UNUSED}"
}}
"""  # noqa: S608  # constant texts, put together
