# pymemcache, the text protocol. Usage: pymemcache_text.py HOST PORT
import sys
from pymemcache.client.base import Client
from pymemcache.client.hash import HashClient

addr = (sys.argv[1], int(sys.argv[2]))
c = Client(addr, default_noreply=False)
assert c.set("py-k", "v", flags=4294967295)
assert c.get("py-k") == b"v"
value, token = c.gets("py-k")
assert c.cas("py-k", "w", token) is True
assert c.cas("py-k", "x", token) is False
assert c.cas("py-none", "x", token) is None
assert c.add("py-k", "x") is False
assert c.replace("py-none", "x") is False
assert c.append("py-k", "+") and c.prepend("py-k", "-") and c.get("py-k") == b"-w+"
assert c.set("py-n", "9") and c.incr("py-n", 1) == 10 and c.decr("py-n", 11) == 0
assert c.incr("py-none", 1) is None
assert c.touch("py-k", 100) and not c.touch("py-none", 100)
assert c.set("py-empty", "") and c.get("py-empty") == b""
many = {"py-m%d" % i: b"%d" % i for i in range(300)}
assert c.set_many(many) == []
assert c.get_many(list(many) + ["py-none"]) == many
big = b"x" * 1000000
assert c.set("py-big", big) and c.get("py-big") == big
assert c.set("py-gone", "x", expire=-1) and c.get("py-gone") is None
c.set("py-quiet", "q", noreply=True)
assert c.get("py-quiet") == b"q"
assert c.delete("py-k") and not c.delete("py-k") and c.get("py-k") is None
assert b"pid" in c.stats() and c.version().startswith(b"1.6.")
h = HashClient([addr])
assert h.set("py-h", "v") and h.get("py-h") == b"v" and h.delete("py-h")
print("ok")
