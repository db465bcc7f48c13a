#!/usr/bin/env bash
# Real clients, with their default settings, in each protocol that they speak,
# against a cluster. Those that are not installed are passed over and named;
# --all makes that a failure. docs/clients.md says where each is from.
# Usage: clients.sh KUMOCTL [--all]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
all=${2:-}
missing=0
ran=0
cluster "$(realpath "${1:-bin/kumoctl}")"
work=$dir/work
mkdir "$work"
cd "$work"

# has NAME TEST... tells whether a client is there.
has() {
	name=$1
	shift
	if "$@" >/dev/null 2>&1; then
		echo "== $name"
		ran=$((ran + 1))
		return 0
	fi
	echo "== $name: not installed"
	missing=$((missing + 1))
	return 1
}

if has "gomemcache (Go), text" go version; then
	(cd "$here/clients/gomemcache" && go build -o "$work/gomemcache" .)
	"$work/gomemcache" 127.0.0.1 "$port"
fi
python=python3
[ -x /usr/bin/python3 ] && python=/usr/bin/python3 # where distributions install modules
if has "pymemcache (Python), text" $python -c 'import pymemcache'; then
	$python "$here/clients/pymemcache_text.py" 127.0.0.1 "$port"
fi
if has "python-memcached (Python), text" $python -c 'import memcache'; then
	$python "$here/clients/python_memcached.py" 127.0.0.1 "$port"
fi
for protocol in text binary; do
	if has "pylibmc (Python, on libmemcached), $protocol" $python -c 'import pylibmc'; then
		$python "$here/clients/pylibmc.py" 127.0.0.1 "$port" $protocol
	fi
	if has "php-memcached (PHP, on libmemcached), $protocol" php -r 'new Memcached();'; then
		php "$here/clients/memcached.php" 127.0.0.1 "$port" $protocol
	fi
done
for protocol in binary meta; do
	if has "dalli (Ruby), $protocol" ruby -e 'require "dalli"'; then
		ruby -W0 "$here/clients/dalli.rb" 127.0.0.1 "$port" $protocol
	fi
done
if command -v npm >/dev/null && npm install --silent --no-audit --no-fund memjs@1 memcache-client@1 >/dev/null 2>&1; then
	export NODE_PATH=$work/node_modules
fi
if has "memjs (JavaScript), binary" node -e 'require("memjs")'; then
	node "$here/clients/memjs.js" 127.0.0.1 "$port"
fi
if has "memcache-client (JavaScript), text" node -e 'require("memcache-client")'; then
	node "$here/clients/memcache_client.js" 127.0.0.1 "$port"
fi
for flag in "" --binary; do
	if has "libmemcached's tools (C), ${flag:-text}" command -v memccp; then
		servers=127.0.0.1:$port
		head -c 300000 /dev/urandom >blob
		echo "a small file" >note
		memccp $flag --servers="$servers" blob note
		memccat $flag --servers="$servers" blob >blob.back
		cmp -n 300000 blob blob.back
		memccat $flag --servers="$servers" note | grep -q "a small file"
		memcexist $flag --servers="$servers" note
		memctouch $flag --servers="$servers" --expire=100 note
		memcrm $flag --servers="$servers" note
		if memccat $flag --servers="$servers" note 2>/dev/null | grep -q small; then echo "note is still there"; exit 1; fi
		memcstat $flag --servers="$servers" | grep -q pid
		memcping --servers="$servers"
		memcslap $flag --servers="$servers" --concurrency=8 --execute-number=500 --test=set >/dev/null
		echo ok
	fi
done

# Those that authenticate, at a gateway of their own.
secure=$((port + 1))
echo "foo:bar baz" >users
manager=$(sed -n 's/.*nats -s \([0-9.:]*\) .*/\1/p' "$dir/up.log" | head -1)
"$kumoctl" daemon gateway -m "$manager" -t "127.0.0.1:$secure" --auth-file users 2>"$dir/gateway.log" &
gateway=$!
trap 'kill $gateway $up 2>/dev/null; wait $gateway $up 2>/dev/null; rm -rf "$dir"' EXIT
listening $secure
if has "pylibmc (Python, on libmemcached), SASL" $python -c 'import pylibmc'; then
	$python "$here/clients/sasl.py" 127.0.0.1 $secure foo "bar baz"
fi
if has "php-memcached (PHP, on libmemcached), SASL" php -r 'new Memcached();'; then
	php "$here/clients/sasl.php" 127.0.0.1 $secure foo "bar baz"
fi
if has "dalli (Ruby), SASL" ruby -e 'require "dalli"'; then
	ruby -W0 "$here/clients/sasl.rb" 127.0.0.1 $secure foo "bar baz"
fi
if has "memjs (JavaScript), SASL" node -e 'require("memjs")'; then
	node "$here/clients/sasl_memjs.js" 127.0.0.1 $secure foo "bar baz"
fi

echo "== $ran clients are content, $missing are not installed"
[ -z "$all" ] || [ "$missing" = 0 ]
