# Clients that do little, for crawl.sh. Usage: crawl.py PORT CONNECTIONS | crawl.py PORT deaf
# The first sends a byte a second on each connection, evenly over the second, and
# when its input ends says how many a second it got rid of, and how many answers
# took longer than a second. The second asks for
# large values and reads none. Both say "ready" once they are at it.
import resource, select, socket, sys, time

port = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

def connect():
    return socket.create_connection(("127.0.0.1", port), timeout=20)

def ready():
    print("ready", flush=True)

def over():
    return bool(select.select([sys.stdin], [], [], 0)[0])

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
