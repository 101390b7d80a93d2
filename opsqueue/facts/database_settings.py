"""The sh texts that ask a server for its settings and its own numbers, and its host for memory and CPUs.

A row `setting` has the name, the value, its unit, how it can be changed (`live`, `restart`) and where it comes from;
a row `number` is one of the server's counters.
"""

from __future__ import annotations

_PG_NAMES = (
    "shared_buffers effective_cache_size work_mem maintenance_work_mem min_wal_size max_wal_size max_connections "
    "checkpoint_completion_target wal_buffers default_statistics_target random_page_cost effective_io_concurrency "
    "max_worker_processes max_parallel_workers max_parallel_workers_per_gather max_parallel_maintenance_workers "
    "huge_pages jit wal_compression"
)
_PG = f"""
  select 'setting', s.name, s.setting, coalesce(s.unit, ''),
    case when s.context in ('postmaster', 'internal') then 'restart' else 'live' end,
    case when s.source in ('command line', 'environment variable') then 'command line'
      when s.sourcefile like '%postgresql.auto.conf' then 'auto' else 'other' end,
    s.pending_restart::text
  from pg_settings s where s.name = any(string_to_array('{_PG_NAMES}', ' ')) order by s.name;
  select 'bad', name, error from pg_file_settings f where error is not null and not exists
    (select from pg_settings s where s.name = f.name and s.pending_restart) order by seqno;
  select 'number', 'temp_bytes', sum(temp_bytes) from pg_stat_database;
  select 'number', 'deadlocks', sum(deadlocks) from pg_stat_database;
  select 'number', 'cache_hit_percent', round(100 * sum(blks_hit) / nullif(sum(blks_hit + blks_read), 0), 1)
    from pg_stat_database;
  select 'number', 'database_bytes', sum(pg_database_size(oid)) from pg_database;
  select 'number', 'statistics_age', floor(extract(epoch from clock_timestamp() - coalesce(min(stats_reset),
    pg_postmaster_start_time()))) from pg_stat_database where datname is not null;
  select 'place', 'data_directory', current_setting('data_directory');
  select 'watch', 'wraparound', datname, age(datfrozenxid) from pg_database where age(datfrozenxid) > 1000000000;
  select 'watch', 'slot', slot_name, pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_receive_lsn()
    else pg_current_wal_lsn() end, restart_lsn)::bigint from pg_replication_slots where not active;
  select 'watch', 'idle', pid::text, floor(extract(epoch from clock_timestamp() - state_change))
    from pg_stat_activity where state like 'idle in transaction%' and clock_timestamp() - state_change
    > interval '5 minutes';"""  # noqa: S608  # constant texts, put together
_PG_SEQUENCES = """
  select 'watch', 'sequence', quote_ident(schemaname) || '.' || quote_ident(sequencename),
    floor(100 * last_value::numeric / max_value) from pg_sequences where last_value::numeric / max_value > 0.75
    and increment_by > 0 and not cycle order by 3;"""
_MYSQL_NAMES = (
    "'innodb_buffer_pool_size', 'innodb_log_file_size', 'innodb_flush_log_at_trx_commit', 'max_connections', "
    "'tmp_table_size', 'max_heap_table_size', 'table_open_cache', 'thread_cache_size', 'slow_query_log', "
    "'long_query_time', 'innodb_buffer_pool_chunk_size', 'open_files_limit'"
)
_MYSQL_NUMBERS = (
    "'Uptime', 'Max_used_connections', 'Created_tmp_disk_tables', 'Created_tmp_tables', 'Opened_tables', "
    "'Threads_created', 'Connections', 'Innodb_buffer_pool_reads', 'Innodb_buffer_pool_read_requests', "
    "'Innodb_log_waits', 'Open_tables'"
)

SETTINGS = f"""
machine() {{
  row number memory "$(($(sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo) * 1024))"
  row number cpus "$(getconf _NPROCESSORS_ONLN)"
}}
settings_postgresql() {{
  machine
  qq "$first" "{_PG}"
  q "$first" "select datname from pg_database where datallowconn and not datistemplate order by 1" |
  while IFS= read -r name; do wanted "$name" && qq "$name" "{_PG_SEQUENCES}"; done
  auto=$(q "$first" "select current_setting('data_directory')")/postgresql.auto.conf
  row place auto_sum "$(as cksum <"$auto" 2>/dev/null)"
  as sed -n "s/^\\([A-Za-z_.]*\\) = '\\(.*\\)'\\$/own$tab\\1$tab\\2/p" "$auto" 2>/dev/null
}}
settings_mysql() {{
  machine
  q "show global variables where variable_name in ({_MYSQL_NAMES})" |
  while IFS=$tab read -r name value; do row setting "$name" "$value" '' live other ''; done
  q "show global status where variable_name in ({_MYSQL_NUMBERS})" |
  while IFS=$tab read -r name value; do row number "$name" "$value"; done
  row number data_bytes "$(q "select coalesce(sum(data_length + index_length), 0) from information_schema.tables
    where engine = 'InnoDB'")"
}}
settings_redis() {{
  machine
  for name in maxmemory maxmemory-policy activedefrag lazyfree-lazy-eviction lazyfree-lazy-expire \\
    lazyfree-lazy-server-del latency-monitor-threshold slowlog-log-slower-than tcp-keepalive save appendonly; do
    said=$(q config get "$name" | sed -n 2p)
    row setting "$name" "$said" '' live other ''
  done
  q info | tr -d '\\r' | sed -n -E \\
    "s/^(used_memory|mem_fragmentation_ratio|evicted_keys|rejected_connections|uptime_in_seconds|expired_keys)\\
:/number$tab\\1$tab/p"
  row number overcommit "$(cat /proc/sys/vm/overcommit_memory 2>/dev/null)"
}}
settings_sqlite() {{
  machine
  for name in journal_mode auto_vacuum page_size; do row setting "$name" "$(q "pragma $name")" '' live other ''; done
  for name in page_count freelist_count; do row number "$name" "$(q "pragma $name")"; done
}}
"""  # noqa: S608  # constant texts, put together
