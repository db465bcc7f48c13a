# pymemcache with TLS, at a gateway with users. Usage: tls.py HOST PORT CA USER PASSWORD READER
# READER has the same password, and may not write.
import ssl, sys
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheClientError

addr = (sys.argv[1], int(sys.argv[2]))
context = ssl.create_default_context(cafile=sys.argv[3])

def login(user):
    c = Client(addr, tls_context=context, default_noreply=False)
    assert c.set("auth", user + " " + sys.argv[5]) is True
    return c

c, reader = login(sys.argv[4]), login(sys.argv[6])
big = b"x" * 1000000
assert c.set("tls-big", big) and c.get("tls-big") == big
many = {"tls-%d" % i: b"%d" % i for i in range(300)}
assert c.set_many(many) == [] and c.get_many(list(many)) == many
assert reader.get("tls-big") == big and reader.get_many(list(many)) == many
for refused in (lambda r: r.set("tls-big", "y"), lambda r: r.delete("tls-big"), lambda r: r.incr("tls-1", 1)):
    try:
        refused(login(sys.argv[6])) # the library closes a connection on which there was an error
        raise AssertionError("a reader writes")
    except MemcacheClientError as e:
        assert b"write not allowed" in e.args[0], e
try:
    Client(addr, tls_context=ssl.create_default_context()).get("k")
    raise AssertionError("a certificate that nobody trusts will do")
except ssl.SSLError:
    pass
print("ok")
