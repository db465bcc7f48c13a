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

# Those that speak TLS, at one with a certificate and users.
if command -v openssl >/dev/null; then
	private=$((port + 2))
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost \
		-addext "subjectAltName=DNS:localhost,IP:127.0.0.1" -keyout key.pem -out cert.pem 2>/dev/null
	printf 'app:pass word\nreader read:pass word\n' >rights
	"$kumoctl" daemon gateway -m "$manager" -t "127.0.0.1:$private" --auth-file rights --tls-cert cert.pem --tls-key key.pem 2>"$dir/tls.log" &
	secure_gateway=$!
	trap 'kill $secure_gateway $gateway $up 2>/dev/null; wait $secure_gateway $gateway $up 2>/dev/null; rm -rf "$dir"' EXIT
	listening $private
	if has "pymemcache (Python), TLS" $python -c 'import pymemcache'; then
		$python "$here/clients/tls.py" 127.0.0.1 $private cert.pem app "pass word" reader
	fi
	if has "dalli (Ruby), TLS and SASL" ruby -e 'require "dalli"'; then
		ruby -W0 "$here/clients/tls.rb" 127.0.0.1 $private cert.pem app "pass word" reader
	fi
	if has "kumoctl bench, TLS" test -x "$kumoctl"; then
		: # it does not authenticate: at a port of its own
		"$kumoctl" daemon gateway -m "$manager" -t "127.0.0.1:$((port + 3))" --tls-cert cert.pem --tls-key key.pem --tls-client-ca cert.pem 2>"$dir/mutual.log" &
		mutual=$!
		trap 'kill $mutual $secure_gateway $gateway $up 2>/dev/null; wait $mutual $secure_gateway $gateway $up 2>/dev/null; rm -rf "$dir"' EXIT
		listening $((port + 3))
		"$kumoctl" bench --tls --tls-ca cert.pem --tls-cert cert.pem --tls-key key.pem --addr "127.0.0.1:$((port + 3))" --versus "127.0.0.1:$port" --time 0.3 --warm-up 0 --keys 500 --connections 4
	fi
else
	echo "== TLS: openssl is not installed"
fi

echo "== $ran clients are content, $missing are not installed"
[ -z "$all" ] || [ "$missing" = 0 ]
