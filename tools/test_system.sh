#!/bin/sh
# The servers and tools that the tests drive. As root they are installed where missing; otherwise the tests that need
# them skip, and their names are said here and by pytest.
set -eu

missing=""
need() { # need COMMAND PACKAGE
	command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing="$missing $2"
}
need redis-server redis-server
need supervisord supervisor
need runsvdir runit
need s6-svscan s6
need service sysvinit-utils
need nginx nginx-light
need unshare util-linux
need sshd openssh-server
need openssl openssl
need sudo sudo
need csh csh
need systemd-nspawn systemd-container
need dockerd docker.io
need mariadbd mariadb-server
need redis-check-rdb redis-tools
need sqlite3 sqlite3
need age age
need restic restic
need setcap libcap2-bin
need runuser util-linux
need busybox busybox
need logrotate logrotate
need zstd zstd
need xz xz-utils
need fallocate util-linux
need sysbench sysbench
need fio fio
need losetup mount
need lynis lynis
need ssh-keygen openssh-client
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"

[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "not installed, so the tests that need them are skipped:$missing" >&2
	exit 0
fi
echo "installing what the tests drive:$missing"
# No service may be started by its package: the tests start their own, on loopback, and end them.
policy=/usr/sbin/policy-rc.d
made=""
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made=yes
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086  # a list of packages
apt-get install -y -qq --no-install-recommends $missing >/dev/null
[ -z "$made" ] || rm -f "$policy"
