#!/usr/bin/env bash
# What an idle connection costs a gateway: opens connections from a process of
# their own, does a get on each, lets them rest, and prints the KiB of resident
# memory for each. With TLS=1 they speak TLS. Usage: idle.sh KUMOCTL [CONNECTIONS]
set -euo pipefail
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
need python3 "apt-get install python3"
kumoctl=$(realpath "${1:-bin/kumoctl}")
connections=${2:-10000}
cluster "$kumoctl" --processes
secure=
if [ -n "${TLS:-}" ]; then
	need openssl "apt-get install openssl"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost \
		-keyout "$dir/key.pem" -out "$dir/cert.pem" 2>/dev/null
	secure="--tls-cert $dir/cert.pem --tls-key $dir/key.pem"
fi
manager=$(sed -n 's/.*nats -s \([0-9.:]*\) .*/\1/p' "$dir/up.log" | head -1)
"$kumoctl" daemon gateway -m "$manager" -t "127.0.0.1:$((port + 1))" --max-connections $((connections + 10)) $secure 2>"$dir/gateway.log" &
gateway=$!
trap 'kill $gateway $up 2>/dev/null; wait $gateway $up 2>/dev/null; rm -rf "$dir"' EXIT
python3 - "$((port + 1))" $gateway "$connections" "${TLS:-}" <<'PY'
import socket, ssl, sys, time
port, pid, n = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])

context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

def resident():
    with open(f"/proc/{pid}/status") as f:
        return next(int(l.split()[1]) for l in f if l.startswith("VmRSS"))

def connect():
    for _ in range(200):
        try:
            c = socket.create_connection(("127.0.0.1", port), timeout=20)
            return context.wrap_socket(c) if sys.argv[4] else c
        except ConnectionRefusedError:
            time.sleep(0.05)
    sys.exit("the gateway does not listen")

def get(c):
    c.sendall(b"get none\r\n")
    assert c.recv(100) == b"END\r\n"
    return c

first = get(connect())
before = resident()
all = [get(connect()) for _ in range(n)]
print(f"{n} connections that have just worked: {(resident() - before) / n:.1f} KiB each")
time.sleep(22)
print(f"after 22 s of rest: {(resident() - before) / n:.1f} KiB each")
PY
