# pylibmc, on libmemcached, with SASL. Usage: sasl.py HOST PORT USER PASSWORD
import sys
# The script's own name must not stand before the module's.
sys.path = [p for p in sys.path if not p.endswith("/clients")]
import pylibmc

if not pylibmc.support_sasl:
    print("libmemcached was built without SASL")
    sys.exit(0)
server, user, password = ["%s:%s" % (sys.argv[1], sys.argv[2])], sys.argv[3], sys.argv[4]
c = pylibmc.Client(server, binary=True, username=user, password=password)
assert c.set("sasl", "v") and c.get("sasl") == "v" and c.delete("sasl")
for wrong in (
    lambda: pylibmc.Client(server, binary=True, username=user, password=password + "x"),
    lambda: pylibmc.Client(server, binary=True),
    lambda: pylibmc.Client(server),
):
    try:
        stored = wrong().set("sasl", "v")
    except pylibmc.Error:
        stored = False
    assert not stored, "somebody was let in without the password"
print("ok")
