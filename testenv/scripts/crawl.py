# Clients that do little, for crawl.sh and crowd.sh. Usage: crawl.py PORT CONNECTIONS |
# crawl.py PORT deaf | crawl.py PORT unread BYTES | crawl.py PORT bad RATE LEAST
# The first sends a byte a second on each connection, evenly over the second, and
# when its input ends says how many a second it got rid of, and how many answers
# took longer than a second. The second asks for
# large values and reads none. The third does so on 64 connections and with so many
# bytes of requests in all, and says how many got rid of. The fourth sends so many
# requests a second that are no good, each another one, at least as many as the last
# number says, and says how many. All say "ready" once they are at it.
import resource, select, socket, sys, time

port = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

def connect():
    return socket.create_connection(("127.0.0.1", port), timeout=20)

def ready():
    print("ready", flush=True)

def over():
    return bool(select.select([sys.stdin], [], [], 0)[0])

if sys.argv[2] == "unread":
    c = connect()
    c.sendall(b"set crawl-big 0 0 1000000\r\n" + b"v" * 1000000 + b"\r\n")
    assert c.recv(8) == b"STORED\r\n"
    conns = [connect() for _ in range(64)]
    for c in conns:
        c.setblocking(False)
    ask = memoryview(b"get crawl-big\r\n" * 10000) # slices of it are no copies
    left = [int(sys.argv[3]) // len(conns)] * len(conns)
    at = [0] * len(conns)
    said = False
    while not over():
        progress = False
        for i, c in enumerate(conns):
            try:
                n = c.send(ask[at[i]:at[i] + min(left[i], 65536)]) if left[i] else 0
            except BlockingIOError:
                continue
            except OSError: # closed by the gateway, since nothing is taken: begin anew
                conns[i], at[i] = connect(), 0
                conns[i].setblocking(False)
                continue
            left[i] -= n
            at[i] = (at[i] + n) % len(ask)
            progress = progress or n > 0
        if not progress and not said:
            said = True
            ready()
        time.sleep(0.01 if progress else 0.25) # the processor is for others
    print(int(sys.argv[3]) - sum(left), flush=True)
    sys.exit()

if sys.argv[2] == "bad":
    c = connect()
    rate, least, batch, sent = int(sys.argv[3]), int(sys.argv[4]), 500, 0
    kinds = (b"nonsense%d\r\n", b"get " + b"x" * 300 + b"%d\r\n", b"set k%d 0 0 -1\r\n", b"incr k %d x\r\n", b"mg k%d Z\r\n", b"cas k%d\r\n")
    ready()
    began = time.monotonic()
    while not over() or sent < least:
        if sent > (time.monotonic() - began) * rate:
            time.sleep(0.002)
            continue
        c.sendall(b"".join(kinds[(sent + i) % len(kinds)] % (sent + i) for i in range(batch)))
        got = 0
        while got < batch:
            text = c.recv(1 << 16)
            assert text and b"STORED" not in text and b"VALUE" not in text, text
            got += text.count(b"\n")
        assert got == batch
        sent += batch
    print(sent, flush=True)
    sys.exit()

if sys.argv[2] == "deaf":
    c = connect()
    c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    c.sendall(b"set crawl-big 0 0 1000000\r\n" + b"v" * 1000000 + b"\r\n")
    assert c.recv(8) == b"STORED\r\n"
    c.setblocking(False)
    ask = b"get crawl-big\r\n" * 1000
    for _ in range(100):  # until the gateway takes no more
        try:
            c.send(ask)
        except BlockingIOError:
            pass
        time.sleep(0.01)
    ready()
    sys.stdin.readline()
    sys.exit()

n = int(sys.argv[2])
conns = [connect() for _ in range(n)]
for c in conns:
    c.setblocking(False)
line = b"get crawl-" + b"x" * 50 + b"\r\n"  # a minute's work
ready()
began = time.monotonic()
sent = late = 0
while not over():
    # Connection i is due at i/n of each second. They are at different letters.
    due = int((time.monotonic() - began) * n)
    while sent < due:
        second, i = divmod(sent, n)
        c, at = conns[i], (second + i) % len(line)
        if second == 0 and at > 0:
            c.send(line[:at])
        if at == 0 and second > 0:
            try:
                assert c.recv(1000).endswith(b"END\r\n"), "a slow client gets a wrong answer"
            except BlockingIOError:
                late += 1
        c.send(line[at:at + 1])
        sent += 1
    time.sleep(0.005)
print(int(sent / (time.monotonic() - began)), late, flush=True)
