# python-memcached, the text protocol. Usage: python_memcached.py HOST PORT
import sys
import memcache

c = memcache.Client(["%s:%s" % (sys.argv[1], sys.argv[2])])
assert c.set("pm-k", {"a": [1, 2, 3]}) and c.get("pm-k") == {"a": [1, 2, 3]}
assert c.set("pm-n", 41) and c.incr("pm-n") == 42 and c.decr("pm-n", 2) == 40
assert c.incr("pm-none") is None
assert not c.add("pm-n", 1) and not c.replace("pm-none", 1)
assert c.set("pm-s", "b") and c.append("pm-s", "c") and c.prepend("pm-s", "a") and c.get("pm-s") == "abc"
assert c.set_multi({"x": 1, "y": 2}, key_prefix="pm-") == []
assert c.get_multi(["x", "y", "z"], key_prefix="pm-") == {"x": 1, "y": 2}
c.cache_cas = True
assert c.gets("pm-x") == 1 and c.cas("pm-x", 5) and c.get("pm-x") == 5
assert c.touch("pm-x", 100) and c.delete("pm-x") and c.get("pm-x") is None
assert c.delete_multi(["y"], key_prefix="pm-") and c.get_stats()[0][1]["pid"]
print("ok")
