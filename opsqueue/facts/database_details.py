"""The sh texts that look at tables and indexes of a server, after it was found.

`statistics` and `integrity_check` print what a later look is compared with; `index_optimization` prints each index (or
table) with what it wastes. Times are those of the server itself, in seconds since 1970.
"""

from __future__ import annotations

from opsqueue.facts.database_indexes import INDEXES
from opsqueue.facts.database_owners import OWNERS

# What a btree would need, from the widths that the statistics know: 8 bytes of header and 4 of pointer for each entry.
# Entries that are equal share their place since PostgreSQL 13, so that an estimate is rather too low than too high.
_PG_INDEXES = """
  select 'index', current_database(), n.nspname, t.relname, i.relname, pg_relation_size(i.oid),
    case when x.indisvalid then 'valid' else 'invalid' end, pg_relation_filenode(i.oid),
    case when a.amname <> 'btree' or x.indisexclusion then -1
      when t.reltuples <= 0 or pg_relation_size(i.oid) <= 16384 then 0
      else greatest(0, round(100 * (1 - (1 + ceil(i.reltuples * (12 + w.bytes) / 7300)) * 8192
        / pg_relation_size(i.oid)))) end
  from pg_index x join pg_class i on i.oid = x.indexrelid join pg_class t on t.oid = x.indrelid
  join pg_namespace n on n.oid = i.relnamespace join pg_am a on a.oid = i.relam
  cross join lateral (select coalesce(8 * ceil(sum(coalesce(s.avg_width, 8)) / 8.0), 8) as bytes
    from unnest(x.indkey::int2[]) k left join pg_attribute c on c.attrelid = t.oid and c.attnum = k
    left join pg_stats s on s.schemaname = n.nspname and s.tablename = t.relname and s.attname = c.attname) w
  where i.relkind = 'i' and t.relpersistence <> 't' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  and concat(n.nspname, t.relname, i.relname) !~ '[[:cntrl:]]'
  order by n.nspname, i.relname"""

_PG_STATISTICS = """
  select 'table', current_database(), regexp_replace(n.nspname || '.' || c.relname, '[[:cntrl:]]', ' ', 'g'),
    coalesce(floor(extract(epoch from greatest(s.last_analyze, s.last_autoanalyze))), 0), s.n_mod_since_analyze
  from pg_stat_user_tables s join pg_class c on c.oid = s.relid join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'm') and c.relpersistence <> 't' order by 3"""

_MYSQL_STATISTICS = """select 'table', database_name, table_name, unix_timestamp(last_update), 0
  from mysql.innodb_table_stats where database_name not in ('mysql', 'sys')
  and database_name not like 'opsqueue\\\\_scratch\\\\_%' order by 2, 3"""

_MYSQL_INDEXES = """select 'rebuild', t.table_schema, t.table_name, t.data_length + t.index_length,
    coalesce(unix_timestamp(t.create_time), 0),
    round(100 * t.data_free / (t.data_length + t.index_length + t.data_free))
  from information_schema.tables t where t.engine = 'InnoDB' and t.table_type = 'BASE TABLE'
  and t.table_schema not in ('mysql', 'sys') and t.table_schema not like 'opsqueue\\\\_scratch\\\\_%'
  and not exists (select 1 from information_schema.statistics s where s.table_schema = t.table_schema
    and s.table_name = t.table_name and s.index_type in ('FULLTEXT', 'SPATIAL')) order by 2, 3"""

DETAILS = f"""{INDEXES}{OWNERS}
detail_postgresql() {{
  case $1 in
    backup) others_of_a_restore; return ;;
    cleanup) table_postgresql; return ;;
    tuning) settings_postgresql; return ;;
    statistics) asked="{_PG_STATISTICS}" ;;
    index_optimization) asked="{_PG_INDEXES}"; room_postgresql; built_postgresql ;;
    *) return ;;
  esac
  row now "$(q "$first" 'select floor(extract(epoch from clock_timestamp()))')"
  q "$first" "select datname from pg_database where datallowconn and not datistemplate
    and datname not like 'opsqueue\\\\_scratch\\\\_%' order by 1" |
  while IFS= read -r name; do
    wanted "$name" && q "$name" "$asked" && {{ [ "$1" != index_optimization ] || unused_postgresql "$name"; }}
  done
}}
detail_mysql() {{
  case $1 in
    cleanup) table_mysql; return ;;
    tuning) settings_mysql; return ;;
    statistics) asked="{_MYSQL_STATISTICS}" ;;
    index_optimization) asked="{_MYSQL_INDEXES}"; built_mysql ;;
    *) return ;;
  esac
  row now "$(q 'select unix_timestamp()')"
  q "$asked" | while IFS=$tab read -r kind name rest; do wanted "$name" && row "$kind" "$name" "$rest"; done
}}
detail_sqlite() {{
  case $1 in
    backup) return ;;
    cleanup) table_sqlite; return ;;
    tuning) settings_sqlite; return ;;
    index_optimization) built_sqlite ;;
  esac
  row now "$(date +%s)"
  row indexes "$(q "select count(*) from sqlite_schema where type = 'index' or sql like '%primary key%'")"
  row statistics "$(q 'select count(*) from sqlite_stat1' | grep -x '[0-9]*' || echo 0)"
  row check "$(q 'pragma quick_check(5)' | head -n 1)"
}}
detail_redis() {{
  case $1 in
    cleanup) table_redis ;;
    tuning) settings_redis ;;
  esac
}}
"""  # noqa: S608  # constant texts, put together
