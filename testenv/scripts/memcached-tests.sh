#!/usr/bin/env bash
# memcached's own tests of its protocols, and memcapable, against a cluster.
# Usage: memcached-tests.sh KUMOCTL [FOLDER]. FOLDER holds memcached's source (its
# t/*.t), for example what `apt-get source memcached` unpacks; without it only
# memcapable runs. TESTS names other tests than the usual ones. What is left out,
# and why, is in docs/clients.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
kumoctl=$(realpath "${1:-bin/kumoctl}")
source=${2:+$(realpath "$2")}
tests=${TESTS:-binary binary-get bogus-commands expirations flags flush-all getandtouch getset incrdecr issue_104
	issue_108 issue_14 issue_152 issue_192 issue_3 issue_41 issue_68 issue_70 line-lengths
	malicious-commands metaget multiversioning noreply quit strtol-testing touch}
cluster "$kumoctl" --servers 1 --enable-flush-all
failed=0

if capable=$(command -v memccapable || command -v memcapable); then
	# memcapable ends with 0 whatever came of it.
	"$capable" -h 127.0.0.1 -p "$port" -t 10 | tee "$dir/capable"
	grep -q '\[pass\]' "$dir/capable" && ! grep -q '\[FAIL\]' "$dir/capable" || failed=1
else
	echo "memcapable is not installed: apt-get install libmemcached-tools"
fi

# known TEST prints a pattern of the checks that fail, for the reasons that
# docs/clients.md tells.
known() {
	case $1 in
	binary) echo '^not ok [0-9]+$' ;; # settings of a memcached of the test's own
	expirations) echo 'foo == <undef>|now expired|stored add again|add == .addval3' ;;
	flush-all) echo 'flush_all was not allowed|foo == .fooval2' ;;
	getset) echo 'close if no get found in 2k' ;;
	metaget) echo 'error from blank command' ;;
	strtol-testing) echo '^not ok 2$' ;;
	*) echo '^nothing$' ;;
	esac
}

# fresh empties the store and the statistics, which every test takes for its own.
fresh() { printf 'flush_all\r\nstats reset\r\nquit\r\n' | perl -MIO::Socket::INET -e '
	my $s = IO::Socket::INET->new(PeerAddr => shift) or die "connect: $!"; local $/; print $s <STDIN>; <$s>' "$T_MEMD_USE_DAEMON"; }

if [ -n "$source" ]; then
	need perl "apt-get install perl"
	[ -d "$source/t" ] || { echo "$source holds no t: give the folder of memcached's source"; exit 1; }
	mkdir "$dir/work"
	cd "$dir/work"
	cp -r "$source/t" "$source/doc" .
	# The tests ask memcached's help for what it was built with. Nothing here.
	printf '#!/bin/sh\nexit 0\n' >memcached-debug
	chmod +x memcached-debug
	# run TEST
	run() {
		name=$1
		code=0
		timeout 180 perl -It/lib "t/$name.t" >"$name.out" 2>"$name.err" || code=$?
		passed=$(grep -c '^ok' "$name.out" || true) bad=$(grep -c '^not ok' "$name.out" || true)
		unknown=$(grep '^not ok' "$name.out" | grep -vE "$(known "$name")" || true)
		# The exit code is the number of checks that failed, or more if it died.
		if [ "$code" = "$bad" ] && [ -z "$unknown" ]; then
			echo "$name: $passed passed, $bad left out"
		else
			echo "$name: $passed passed, failed:"
			echo "$unknown"
			tail -20 "$name.err"
			failed=1
		fi
	}
	export T_MEMD_USE_DAEMON=127.0.0.1:$port
	for name in $tests; do
		[ -e "t/$name.t" ] || { echo "$name: not in this version"; continue; }
		fresh
		run "$name"
	done
	# Those that authenticate, at a gateway of their own.
	manager=$(sed -n 's/.*nats -s \([0-9.:]*\) .*/\1/p' "$dir/up.log" | head -1)
	for name in ascii-auth ascii-auth2; do
		[ -e "t/$name.t" ] && [ -z "${TESTS:-}" ] || continue
		users=t/authfile${name#ascii-auth}
		"$kumoctl" daemon gateway -m "$manager" -t "127.0.0.1:$((port + 1))" --auth-file "$users" 2>"$dir/gateway.log" &
		gateway=$!
		trap 'kill $gateway $up 2>/dev/null; wait $gateway $up 2>/dev/null; rm -rf "$dir"' EXIT
		listening $((port + 1))
		T_MEMD_USE_DAEMON=127.0.0.1:$((port + 1)) run "$name"
		kill $gateway
		wait $gateway || true
	done
fi
exit $failed
