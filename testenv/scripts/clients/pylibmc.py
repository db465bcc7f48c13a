# pylibmc, on libmemcached, the text or the binary protocol.
# Usage: pylibmc.py HOST PORT binary|text
import sys
# The script's own name must not stand before the module's.
sys.path = [p for p in sys.path if not p.endswith("/clients")]
import pylibmc

binary = sys.argv[3] == "binary"
p = "pl-" + sys.argv[3] + "-"
c = pylibmc.Client(["%s:%s" % (sys.argv[1], sys.argv[2])], binary=binary, behaviors={"cas": True, "tcp_nodelay": True})
assert c.set(p + "k", "v") and c.get(p + "k") == "v" and c.get(p + "none") is None
value, token = c.gets(p + "k")
assert c.cas(p + "k", "w", token) and not c.cas(p + "k", "x", token) and c.get(p + "k") == "w"
assert not c.add(p + "k", "x") and c.add(p + "new", "x")
assert c.replace(p + "new", "y")
try:
    assert not c.replace(p + "none", "y")
except pylibmc.NotFound:
    assert binary
assert c.append(p + "new", "+") and c.prepend(p + "new", "-") and c.get(p + "new") == "-y+"
assert c.set(p + "n", 9) and c.incr(p + "n") == 10 and c.decr(p + "n", 3) == 7
try:
    c.incr(p + "none")
    assert False, "a counter that is not there"
except pylibmc.NotFound:
    pass
assert c.set_multi({str(i): i for i in range(300)}, key_prefix=p) == []
assert c.get_multi([str(i) for i in range(301)], key_prefix=p) == {str(i): i for i in range(300)}
big = "x" * 1000000
assert c.set(p + "big", big) and c.get(p + "big") == big
assert c.touch(p + "k", 100) if hasattr(c, "touch") else True
assert c.delete(p + "k") and not c.delete(p + "k")
assert c.get_stats()[0][1]["pid" if isinstance(next(iter(c.get_stats()[0][1])), str) else b"pid"]
print("ok")
