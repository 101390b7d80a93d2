r"""The sh texts that look at databases: which servers run on a host, what is in one, and what backups there are.

Lines that begin with `@` open a section; the rows below it have their fields between tabs. The last line is `@end`,
so that an answer that was cut off is known to be.
"""

from __future__ import annotations

from opsqueue.facts.service_scripts import LOOSE

_COMMON = (
    LOOSE
    + r"""
tab=$(printf '\t')
engine=$1 socket=$2 port=$3 path=$4 user=$5 run_as=$6 become=$7 detail=$8 store=$9
shift 9
only=$1 defaults=$2 recipients=$3 wait=$4 trust=$5
shift 5
table=$1 where=$2 table_mysql=$3 where_mysql=$4 patience=$5
owner=
row() { printf '%s' "$1"; shift; for one in "$@"; do printf '\t%s' "$one"; done; printf '\n'; }
as() {
  if [ "$become" = yes ] && [ "$owner" ] && [ "$owner" != root ]; then runuser -u "$owner" -- "$@"
  else "$@"; fi
}
wanted() { [ -z "$only" ] && return; case " $only " in *" $1 "*) ;; *) return 1 ;; esac; }
problem() { row problem "$(printf '%s' "$1" | tr '\n\t' '  ' | cut -c 1-400)"; }
has() { command -v "$1" >/dev/null 2>&1 && row tool "$1" "$("$1" --version 2>/dev/null </dev/null | head -n 1)"; }
"""
)

# Listening sockets stand in /proc/net/unix for everybody to read. A Redis that opsqueue brought for itself has a
# redis.lock beside its socket; it is nobody's database. Anybody may listen and call himself so; who does is told last
# in each row: the directory of a process may be shown as root's, so its status says whose it is.
_DISCOVER = r"""
discover() {
  awk '$4 == "00010000" && $6 == "01" { sub(/^([^ ]+ +){7}/, ""); print }' /proc/net/unix | sort -u |
  while IFS= read -r at; do
    [ -S "$at" ] || continue
    who=$(stat -c %U -- "$at")
    case $at in
      */.s.PGSQL.*[!0-9]*) ;;
      */.s.PGSQL.[0-9]*) row postgresql "${at%/.s.PGSQL.*}" "${at##*.}" "$(server "$at.lock" "$at")" "$who" ;;
      */mysqlx*.sock) ;;
      */*mysql*.sock | */*maria*.sock) row mysql "$at" 0 "$at" "$who" ;;
    esac
  done
  for one in /proc/[0-9]*; do
    read -r name <"$one/comm" || continue
    case $name in redis-server | valkey-server) ;; *) continue ;; esac
    here=$(readlink "$one/ns/net") && [ "$here" != "$(readlink /proc/self/ns/net)" ] && continue
    title=$(tr '\0' ' ' <"$one/cmdline")
    uid=$(sed -n 's/^Uid:[[:space:]]*[0-9]*[[:space:]]*\([0-9]*\).*/\1/p' "$one/status")
    who=$(getent passwd "$uid" | cut -d : -f 1); who=${who:-$uid}
    case $title in *sentinel*) continue ;; esac
    for word in $title; do
      case $word in
        unixsocket:/*)
          at=${word#unixsocket:}
          [ -e "${at%/*}/redis.lock" ] || row redis "$at" 0 "${one#/proc/}" "$who" ;;
        *:0) ;;
        *:*[!0-9]*) ;;
        *:[0-9]*) row redis '' "${word##*:}" "${one#/proc/}" "$who" ;;
      esac
    done
  done
} 2>/dev/null
# One server may listen in several directories: the first line of its lock says which process it is.
server() { { read -r pid <"$1" && printf '%s' "$pid"; } 2>/dev/null || printf '%s' "$2"; }
"""

_POSTGRESQL = r"""
inspect_postgresql() {
  owns() { owner=${run_as:-$(stat -c %U -- "$socket/.s.PGSQL.$port" 2>/dev/null)}; }
  owns
  PGHOST=$socket PGPORT=$port PGCONNECT_TIMEOUT=5; export PGHOST PGPORT PGCONNECT_TIMEOUT
  if [ "$user" ]; then PGUSER=$user; export PGUSER; fi
  # By the environment, where a name is a name: of an argument `host=… user=…` psql would make another address.
  # Whose the database is may set where names are looked for, and put a view of his own before the catalogue.
  pq() { as psql -XAtqw -F "$tab" -v ON_ERROR_STOP=1 -c 'set search_path = pg_catalog' "$@" 2>&1; }
  q() { PGDATABASE=$1; export PGDATABASE; pq -c "$2"; }
  first=postgres ends=$(($(date +%s) + wait))
  until [ "$(date +%s)" -ge "$ends" ] || q postgres 'select 1' >/dev/null || q template1 'select 1' >/dev/null; do
    sleep 0.2
    owns
  done
  if ! said=$(q "$first" 'select 1'); then
    first=template1
    q "$first" 'select 1' >/dev/null || { problem "$said"; return; }
  fi
  row owner "$owner"
  q "$first" "select 'version', current_setting('server_version_num')
    union all select 'recovery', pg_is_in_recovery()::text
    union all select 'superuser', rolsuper::text from pg_roles where rolname = current_user"
  for one in psql pg_dump pg_restore pg_dumpall age; do has "$one"; done
  row amcheck "$(command -v pg_amcheck ||
    ls -d /usr/lib/postgresql/*/bin/pg_amcheck /usr/pgsql-*/bin/pg_amcheck 2>/dev/null | sort -V | tail -n 1)"
  echo @databases
  q "$first" "select datname, pg_database_size(oid), pg_encoding_to_char(encoding), datcollate, datctype
    from pg_database where datallowconn and not datistemplate
    and datname not like 'opsqueue\\_scratch\\_%' order by 1" |
  while IFS=$tab read -r name size encoding collate ctype; do
    wanted "$name" || continue
    row "$name" "$size" "$(q "$name" "select count(*) from pg_class c where relkind in ('r', 'p', 'm', 'S', 'v')
      and relnamespace not in (select oid from pg_namespace where nspname like 'pg\\_%'
        or nspname = 'information_schema')")" \
      "$encoding" "$collate" "$ctype" "$(q "$name" "select count(*) from pg_extension where extname = 'amcheck'")"
  done
  echo @names
  q "$first" "select datname from pg_database where datallowconn and not datistemplate
    and datname ~ '^[A-Za-z0-9_.-]+\$' and datname not like 'opsqueue\\_scratch\\_%' order by 1"
  echo @scratch
  q "$first" "select datname from pg_database where datname like 'opsqueue\\_scratch\\_%' order by 1"
}
"""

_MYSQL = r"""
inspect_mysql() {
  owner=$run_as
  client=$(command -v mariadb || command -v mysql) || { problem 'no client: neither mariadb nor mysql'; return; }
  set -- ${defaults:+"--defaults-extra-file=$defaults"} ${user:+"--user=$user"} --connect-timeout=5
  if [ "$socket" ]; then set -- "$@" "--socket=$socket"
  else set -- "$@" --protocol=tcp --host=127.0.0.1 "--port=$port"; fi
  connection=$(for one; do printf '%s\t' "$one"; done)
  q() { (IFS=$tab; as "$client" $connection --batch --skip-column-names -e "$1" 2>&1); }
  said=$(q 'select 1') || { problem "$said"; return; }
  row owner "$owner"
  row client "${client##*/}"
  q "select 'version', version() union all select 'log_bin', @@global.log_bin
    union all select 'read_only', @@global.read_only"
  for one in mariadb-dump mysqldump mariadb-check mysqlcheck age; do has "$one"; done
  echo @databases
  q "select s.schema_name, coalesce(sum(t.data_length + t.index_length), 0), count(t.table_name),
      coalesce(sum(t.table_type = 'BASE TABLE' and t.engine <> 'InnoDB'), 0),
      (select count(*) from information_schema.events e where e.event_schema = s.schema_name),
      s.default_character_set_name
    from information_schema.schemata s left join information_schema.tables t on t.table_schema = s.schema_name
    where s.schema_name not in ('mysql', 'sys', 'information_schema', 'performance_schema')
      and s.schema_name not like 'opsqueue\\_scratch\\_%' group by s.schema_name order by 1" |
  while IFS=$tab read -r name rest; do wanted "$name" && row "$name" "$rest"; done
  echo @names
  q "select schema_name from information_schema.schemata where schema_name not like 'opsqueue\\_scratch\\_%'" |
    grep -x '[A-Za-z0-9_.-]*'
  echo @scratch
  q "select schema_name from information_schema.schemata where schema_name like 'opsqueue\\_scratch\\_%'"
}
"""

# An older server cannot load what a newer one wrote, and PATH may have several.
_REDIS = r"""
loader() (
  IFS=:
  for dir in $PATH; do
    [ -x "$dir/redis-server" ] && [ -x "$dir/redis-check-rdb" ] || continue
    there=$("$dir/redis-server" --version </dev/null | sed -n 's/.* v=\([0-9.]*\).*/\1/p')
    [ "$(printf '%s\n' "$1" "$there" | sort -V | head -n 1)" = "$1" ] && { printf '%s' "$dir"; return; }
  done
)
inspect_redis() {
  owner=$run_as
  q() {
    if [ "$socket" ]; then as redis-cli --no-auth-warning -s "$socket" ${user:+--user "$user"} "$@" 2>&1
    else as redis-cli --no-auth-warning -h 127.0.0.1 -p "$port" ${user:+--user "$user"} "$@" 2>&1; fi
  }
  said=$(q info) || { problem "$said"; return; }
  case $said in *redis_version:*) ;; *) problem "$said"; return ;; esac
  row owner "$owner"
  said=$(printf '%s\n' "$said" | tr -d '\r')
  printf '%s\n' "$said" | sed -n -E "s/^(redis_version|used_memory|role|loading|aof_enabled|db[0-9]+):/\1$tab/p"
  row available "$(($(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo) * 1024))"
  row loader "$(loader "$(printf '%s\n' "$said" | sed -n 's/^redis_version://p')")"
  for one in redis-cli age; do has "$one"; done
  echo @databases
  row all "$(printf '%s\n' "$said" | sed -n 's/^used_memory://p')" \
    "$(printf '%s\n' "$said" | awk -F '[=,]' '/^db[0-9]+:keys=/ { sum += $2 } END { print sum + 0 }')"
}
"""

_SQLITE = r"""
inspect_sqlite() {
  [ -f "$path" ] || { problem "there is no file $path"; return; }
  owner=${run_as:-$(stat -c %U -- "$path")}
  q() { as sqlite3 -batch -bail -cmd '.timeout 10000' -separator "$tab" "$path" "$1" 2>&1; }
  said=$(q 'select count(*) from sqlite_schema') || { problem "$said"; return; }
  row owner "$owner"
  row version "$(sqlite3 --version | cut -d ' ' -f 1)"
  row journal "$(q 'pragma journal_mode')"
  for one in sqlite3 age; do has "$one"; done
  echo @databases
  row "$(basename -- "$path")" "$(stat -c %s -- "$path")" \
    "$(q "select count(*) from sqlite_schema where type in ('table', 'view') and substr(name, 1, 7) <> 'sqlite_'")"
}
"""

# What a backup directory holds: numbered directories, and those of them that were never finished.
_STORE = r"""
list_store() {
  echo @store
  for one in "$1"/[0-9][0-9][0-9][0-9][0-9][0-9] "$1"/[0-9][0-9][0-9][0-9][0-9][0-9].partial; do
    [ -d "$one" ] || continue
    row "${one##*/}" "$(du -sk -- "$one" 2>/dev/null | cut -f 1)" \
      "$(($(date +%s) - $(stat -c %Y -- "$one" 2>/dev/null || echo 0)))"
  done
  at=$1; until [ -d "$at" ] || [ "$at" = / ]; do at=${at%/*}; at=${at:-/}; done
  row report "$(stat -c '%i %z' -- "$1/integrity_check/done" 2>/dev/null)" 0
  last=$(ls -d -- "$1"/cleanup/[0-9][0-9][0-9][0-9][0-9][0-9] 2>/dev/null | tail -n 1)
  row cleanup "${last##*/}" 0
  row loose "$(loose "$store" '')" 0
  row free "$(($(df -Pk -- "$at" 2>/dev/null | awk 'NR == 2 { print $4 }') * 1024))" 0
  if [ "$recipients" ] && as test -r "$recipients"; then row recipients 1 0; fi
}
"""

_MAIN = r"""
given() {
  case $engine in
    auto | sqlite) return 1 ;;
    postgresql) [ "$socket" ] && [ "$port" != 0 ] ;;
    *) [ "$socket" ] || [ "$port" != 0 ] ;;
  esac
}
candidates() {
  if [ "$path" ]; then row sqlite - 0
  elif given; then row "$engine" "${socket:--}" "$port"
  else
    discover | sort -u -t "$tab" -k 1,1 -k 4,4 | cut -f 1-3,5 |
      awk -F "$tab" -v OFS="$tab" -v e="$engine" -v s="$socket" -v p="$port" \
        '(e == "auto" || e == $1) && (s == "" || s == $2) && (p == 0 || p == $3) { if ($2 == "") $2 = "-"; print }'
  fi
}
look_into() {
  "inspect_$engine"
  case $engine in
    postgresql) label=postgresql-$port ;;
    sqlite) label=sqlite-$(basename -- "$path")-$(printf '%s' "$path" | cksum | cut -d ' ' -f 1) ;;
    *) label=$engine-$(printf '%s' "$socket$port" | cksum | cut -d ' ' -f 1) ;;
  esac
  echo @place; row "$label"
  list_store "$store/$label"
  if [ "$detail" ]; then echo @detail; "detail_$engine" "$detail"; fi
}
found=$(candidates)
echo @found
[ -z "$found" ] || printf '%s\n' "$found"
if [ "$(printf '%s' "$found" | grep -c .)" = 1 ]; then
  IFS=$tab read -r engine socket port who <<EOT
$found
EOT
  [ "$socket" != - ] || socket=
  echo @server
  case ${who:-root} in
    root | postgres | mysql | mariadb | redis | valkey | "$(id -un)") look_into ;;
    *) problem "$who runs it, and anybody may call a socket so; if it is meant, say so with socket and port" ;;
  esac
fi
echo @end
"""

INSPECT = _COMMON + _DISCOVER + _POSTGRESQL + _MYSQL + _REDIS + _SQLITE + _STORE
MAIN = _MAIN
