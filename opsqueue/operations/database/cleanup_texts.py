"""What a cleanup sends: one loop on the host, and for each engine the transaction of one batch.

The loop writes `begin N` before a batch and `done N ROWS` after it was committed, so that an interrupted one knows
what is certain. Within a batch with an archive: the rows are locked, written, read again and compared, brought to the
disk, and only then deleted and committed. `kill $PPID` ends a client whose transaction must not be committed; a line
for the shell holds no semicolon, where the client of MySQL would end it.
"""

# ruff: noqa: S608  # what is filled in comes from the parser, quoted, or from the catalogue
from __future__ import annotations

LOOP = r"""
cd -- "$PLACE" || exit 1
done=0 number=0 last=no WHY='the archive could not be written, or is not what the rows are'; export WHY
ends=$(($(date +%s) + PATIENCE))
stop() {
  printf 'stop %s\n' "$(printf '%s' "$1" | tr '\n\t' '  ')" >>journal
  printf 'stopped after %s rows: %s\n' "$done" "$1" >&2
  exit 4
}
is_number() { case $1 in '' | *[!0-9]*) return 1 ;; esac; }
while [ "$last" = no ]; do
  size=$((MOST - done)); [ "$size" -le "$BATCH" ] || size=$BATCH
  [ "$size" -gt 0 ] || break
  [ "$(date +%s)" -lt "$ends" ] || stop 'its time was over'
  number=$((number + 1)); NAME=$(printf %06d "$number"); export NAME
  echo "begin $number" >>journal
  said=$(batch "$size" "$@" 2>&1) || stop "batch $number failed: $(printf '%s' "$said" | tail -c 300)"
  rows=$(printf '%s\n' "$said" | tail -n 1)
  is_number "$rows" || stop "batch $number answered: $(printf '%s' "$said" | tail -c 300)"
  echo "done $number $rows" >>journal
  done=$((done + rows))
  [ "$rows" != 0 ] || rm -f -- "$NAME.rows"
  again "$rows" "$size" || last=yes
  follow "$@" || stop "standbys have not got batch $number after $LAG s"
  [ "$last" = yes ] || sleep "$PAUSE"
done
echo end >>journal
sync journal
echo "$done rows were deleted in $number batches"
"""
_FEWER = 'again() { [ "$1" -ge "$2" ]; }\n'
_NO_FOLLOW = "follow() { :; }\n"

POSTGRESQL = (
    _FEWER
    + r"""
ask() { psql -XAtqw -v ON_ERROR_STOP=1 -c 'set search_path = pg_catalog' "$@"; }
batch() { printf '%s\n' "$SQL" | ask -v "size=$1" -f -; }
follow() {
  at=$(ask -c 'select pg_current_wal_insert_lsn()') || return 1
  until=$(($(date +%s) + LAG))
  while left=$(ask -c "select count(*) from pg_stat_replication where replay_lsn < '$at'"); do
    [ "$left" != 0 ] || return 0
    [ "$(date +%s)" -lt "$until" ] || return 1
    sleep 0.2
  done
  return 1
}
"""
    + LOOP
)
_PG_SET = """\
set client_min_messages = error; set lock_timeout = {lock};
set search_path = pg_catalog; set row_security = off;
"""
_PG_SAME = "select count(*), coalesce(sum(hashtextextended(row({columns})::text, 0)), 0)"
PG_PLAIN = (
    _PG_SET
    + """\
with batch as (select tableoid, ctid from {table} where ({where}) limit :size for update),
  gone as (delete from {table} t using batch b where t.tableoid = b.tableoid and t.ctid = b.ctid returning 1)
select count(*) from gone;
"""
)
PG_ARCHIVE = (
    _PG_SET
    + f"""\
begin;
create temp table opsqueue_batch on commit drop as
  select tableoid as place, ctid as tid from {{table}} where ({{where}}) limit :size for update;
copy (select {{of_t}} from {{table}} t join opsqueue_batch b on t.tableoid = b.place and t.ctid = b.tid)
  to stdout \\g batch.partial
create temp table opsqueue_copy on commit drop as select {{columns}} from {{table}} limit 0;
\\copy opsqueue_copy from 'batch.partial'
select ({_PG_SAME.replace("count(*),", "count(*) || ' ' ||").replace("{columns}", "{of_t}")}
    from {{table}} t join opsqueue_batch b on t.tableoid = b.place and t.ctid = b.tid)
  = ({_PG_SAME.replace("count(*),", "count(*) || ' ' ||")} from opsqueue_copy)
  and (select count(*) from opsqueue_batch) = (select count(*) from opsqueue_copy) as same \\gset
\\if :same
\\! sync batch.partial && mv -T -- batch.partial "$NAME.rows" && sync . || ( echo "$WHY" >&2 && kill $PPID )
with gone as (delete from {{table}} t using opsqueue_batch b where t.tableoid = b.place and t.ctid = b.tid returning 1)
select count(*) from gone;
commit;
\\else
do $$ begin raise exception 'the archive is not what the rows are'; end $$;
\\endif
"""
)

MYSQL = (
    _FEWER
    + _NO_FOLLOW
    + r"""
batch() {
  size=$1; shift
  text=$(printf '%s\n' "$SQL" | sed "s/opsqueue_size/$size/g")
  if [ -z "$ARCHIVE" ]; then printf '%s\n' "$text" | "$@" -BN; return; fi
  printf '%s\n' "$text" | "$@" -BNrn --default-character-set=utf8mb4 >batch.partial || return
  sed -n 's/^-- deleted //p' "$NAME.rows" | tail -n 1
}
"""
    + LOOP
)
MYSQL_SET = "set session innodb_lock_wait_timeout = {seconds}, lock_wait_timeout = {seconds};\n"
MYSQL_PLAIN = (
    MYSQL_SET + "delete from {table} where ({where}) order by {key} limit opsqueue_size;\nselect row_count();\n"
)
# What came out of the client so far is compared with what the server says it is, while the rows are locked.
MYSQL_ARCHIVE = (
    MYSQL_SET
    + """\
set session group_concat_max_len = 1073741824;
set session transaction isolation level repeatable read;
start transaction;
select {line} from {table} where ({where}) order by {key} limit opsqueue_size for update;
select concat('-- ', count(*), ' ', coalesce(md5(group_concat(line order by number separator '\\n')), '-'))
  from (select {line} as line, row_number() over (order by {key}) as number from {table} where ({where})
    order by {key} limit opsqueue_size) t;
\\! [ "$(tail -n 1 batch.partial | cut -d ' ' -f 3)" = "$(sh -c "$SUM")" ] && sync batch.partial && \
mv -T -- batch.partial "$NAME.rows" && sync . || ( echo "$WHY" >&2 && kill $PPID )
delete from {table} where ({where}) order by {key} limit opsqueue_size;
select concat('-- deleted ', row_count());
\\! [ "$(tail -n 1 "$NAME.rows" | cut -d ' ' -f 3)" = "$(tail -n 2 "$NAME.rows" | head -n 1 | cut -d ' ' -f 2)" ] || \
kill $PPID
commit;
"""
)
MYSQL_SUM = (
    'if [ "$(wc -l <batch.partial)" = 1 ]; then echo -; '
    'else head -n -1 batch.partial | head -c -1 | md5sum | cut -d " " -f 1; fi'
)

SQLITE = (
    _FEWER
    + _NO_FOLLOW
    + r"""
batch() { printf '%s\n' "$SQL" | sed "s/opsqueue_size/$1/g" | sqlite3 -batch -bail "$FILE"; }
"""
    + LOOP
)
_SQLITE_SET = ".timeout {lock}\npragma foreign_keys = on;\nbegin immediate;\n"
_SQLITE_BATCH = (
    "create temp table opsqueue_batch as select rowid as r from {table} where ({where}) limit opsqueue_size;\n"
)
_SQLITE_GONE = "delete from {table} where rowid in (select r from opsqueue_batch)"
SQLITE_PLAIN = _SQLITE_SET + _SQLITE_BATCH + _SQLITE_GONE + ";\nselect changes();\ncommit;\n"
SQLITE_ARCHIVE = (
    _SQLITE_SET
    + _SQLITE_BATCH
    + """\
.headers on
.mode insert {name}
.output batch.partial
select {columns} from {table} where rowid in (select r from opsqueue_batch);
.output
.mode list
.headers off
create temp table opsqueue_copy as select {columns} from {table} limit 0;
.shell sed 's/^INSERT INTO [^(]*(/INSERT INTO opsqueue_copy(/' batch.partial >batch.check || kill $PPID
.read batch.check
create temp table opsqueue_same as select (select count(*) from opsqueue_batch) = (select count(*) from opsqueue_copy)
  and not exists (select {quoted} from {table} where rowid in (select r from opsqueue_batch)
    except select {quoted} from opsqueue_copy) as same;
.shell rm batch.check
.shell sync batch.partial && mv -T -- batch.partial "$NAME.rows" && sync . || ( echo "$WHY" >&2 && kill $PPID )
"""
    + _SQLITE_GONE
    + """ and (select same from opsqueue_same);
select case when same then changes() else 'the archive is not what the rows are' end from opsqueue_same;
commit;
"""
)

# One step of SCAN in each call; a script of Redis is one transaction. The cursor lies in a file between two calls.
REDIS = r"""
cursor=0
batch() { shift; printf 'EVAL "%s" 0 %s "%s" %s %s\nWAIT %s %s\n' "$LUA" "$(cat cursor)" "$PATTERN" \
  "$size" "$size" "$REPLICAS" "${LAG}000" | "$@" >said || return
  sed -n 1p said >cursor; [ "$(sed -n 3p said)" -ge "$REPLICAS" ] || { cat said; return 1; }; sed -n 2p said; }
again() { [ "$(cat cursor)" != 0 ]; }
follow() { :; }
""" + LOOP.replace("done=0 number=0", "echo 0 >cursor; done=0 number=0")
LUA = (
    "local s=redis.call('SCAN',ARGV[1],'MATCH',ARGV[2],'COUNT',ARGV[3]) local n=0 "
    "for _,k in ipairs(s[2]) do if n<tonumber(ARGV[4]) then n=n+redis.call('UNLINK',k) end end return {s[1],n}"
)
