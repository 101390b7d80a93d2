"""The sh texts that look at the one table of a cleanup: its columns, its key, what hangs on it, how many rows match.

The table and the predicate come written for the engine, from the parser of `operations.database.predicate`. A count
that takes too long, or that the server refuses, is a `problem` and no number.
"""

from __future__ import annotations

_PG_TABLE = """
  select 'kind', relkind, relpersistence from pg_class where oid = '$table'::regclass;
  select 'column', attname, case when attgenerated = '' then 'own' else 'generated' end, '', ''
    from pg_attribute where attrelid = '$table'::regclass and attnum > 0 and not attisdropped order by attnum;
  select 'cascade', conrelid::regclass, confdeltype from pg_constraint where contype = 'f'
    and confrelid = '$table'::regclass and confdeltype in ('c', 'n', 'd') order by 2;
  select 'trigger', tgname from pg_trigger where tgrelid = '$table'::regclass and not tgisinternal
    and tgtype & 8 = 8 and tgenabled <> 'D' order by 1, 2;
  select 'standbys', count(*) from pg_stat_replication where replay_lsn is not null;"""

# A view would run its functions with our rights: the kind is looked at while nobody can put one in the table's place.
_PG_COUNT = """
  set statement_timeout = '${patience}s'; set search_path = pg_catalog; set row_security = off;
  begin; lock table $table in access share mode;
  select relkind in ('r', 'p') as counts from pg_class where oid = '$table'::regclass \\\\gset
  \\\\if :counts
  select count(*) from $table where ($where);
  \\\\else
  select 'it is no table';
  \\\\endif"""

# What the rest of the text calls the columns, in the order of the table; blobs are told apart for the archive.
_MYSQL_COLUMNS = """
  select 'column', column_name, case when generation_expression <> '' then 'generated' else 'own' end,
    case when data_type in ('binary', 'varbinary', 'tinyblob', 'blob', 'mediumblob', 'longblob', 'bit', 'geometry',
      'point', 'linestring', 'polygon') then 'bytes' else 'text' end,
    coalesce((select s.seq_in_index from information_schema.statistics s where s.table_schema = c.table_schema
      and s.table_name = c.table_name and s.index_name = 'PRIMARY' and s.column_name = c.column_name), '')
  from information_schema.columns c where table_schema = '$only' and table_name = '$plain' order by ordinal_position"""

_MYSQL_HANGS = """
  select 'kind', coalesce(max(engine), 'absent'), '' from information_schema.tables where table_schema = '$only'
    and table_name = '$plain' and table_type = 'BASE TABLE';
  select 'cascade', concat(constraint_schema, '.', table_name), delete_rule
    from information_schema.referential_constraints where unique_constraint_schema = '$only'
    and referenced_table_name = '$plain' and delete_rule not in ('RESTRICT', 'NO ACTION') order by 2;
  select 'trigger', trigger_name from information_schema.triggers where event_object_schema = '$only'
    and event_object_table = '$plain' and event_manipulation = 'DELETE' order by 2;
  select 'standbys', count(*) from information_schema.processlist where command like 'Binlog Dump%'"""

TABLES = f"""
counted() {{
  case $1 in '' | *[!0-9]*) row count_problem "$(printf '%s' "$1" | tr '\\n\\t' '  ' | cut -c 1-400)" ;;
  *) row count "$1" ;; esac
}}
qq() {{ PGDATABASE=$1; export PGDATABASE; printf '%s\\n' "$2" | pq -f -; }}
table_postgresql() {{
  case $only in '' | *' '*) return ;; esac
  qq "$only" "{_PG_TABLE}"
  others=$(others_of_a_delete "$only")
  if [ -z "$others" ] || [ "$trust" ]; then counted "$(qq "$only" "{_PG_COUNT}")"
  else row count_problem 'to count them would run functions of others'; fi
  [ -z "$others" ] || printf '%s\\n' "$others"
}}
table_mysql() {{
  case $only in '' | *' '*) return ;; esac
  plain=$(printf '%s' "$table_mysql" | tr -d '`')
  q "{_MYSQL_COLUMNS}"
  q "{_MYSQL_HANGS}"
  case $(q 'select version()') in
    *MariaDB*) limit="set session max_statement_time = $patience" ;;
    *) limit="set session max_execution_time = ${{patience}}000" ;;
  esac
  counted "$(q "$limit; select count(*) from \\`$only\\`.$table_mysql where ($where_mysql)")"
}}
table_sqlite() {{
  plain=$(printf '%s' "$table_mysql" | tr -d '`')
  row kind "$(q "select coalesce(max(type || case when sql like 'create virtual%' then ' virtual' else '' end),
    'absent') from sqlite_schema where name = '$plain'")" \
    "$(q "select rowid from $table_mysql limit 0" >/dev/null || echo 'without rowid')"
  q "select 'column', name, case when hidden = 0 then 'own' else 'generated' end, '', ''
    from pragma_table_xinfo('$plain') order by cid"
  q "select 'cascade', m.name, f.on_delete from sqlite_schema m join pragma_foreign_key_list(m.name) f
    where m.type = 'table' and lower(f.\\"table\\") = lower('$plain')
    and f.on_delete not in ('NO ACTION', 'RESTRICT') order by 2"
  q "select 'trigger', name from sqlite_schema where type = 'trigger' and lower(tbl_name) = lower('$plain')
    and sql like '%delete%' order by 2"
  row standbys 0
  counted "$(as timeout "$patience" sqlite3 -batch -bail -readonly -cmd '.timeout 10000' "$path" \\
    "select count(*) from $table_mysql where ($where_mysql)" 2>&1 || [ "$?" != 124 ] || echo 'it took too long')"
}}
table_redis() {{
  row kind keys
  row standbys "$(q info replication | tr -d '\\r' | sed -n 's/^connected_slaves://p')"
  row cluster "$(q info cluster | tr -d '\\r' | sed -n 's/^cluster_enabled://p')"
  counted "$({{ q -n "$table" --scan --pattern "$where" && echo opsqueue-end; }} |
    awk 'END {{ if ($0 == "opsqueue-end") print NR - 1; else print "the keys could not be counted: " $0 }}')"
}}
"""  # noqa: S608  # constant texts, put together
