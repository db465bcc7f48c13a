# dalli, the binary or the meta protocol. Usage: dalli.rb HOST PORT binary|meta
require "dalli"

def must(ok, what)
  return if ok
  warn what
  exit 1
end

p = "rb-#{ARGV[2]}-"
c = Dalli::Client.new("#{ARGV[0]}:#{ARGV[1]}", protocol: ARGV[2].to_sym)
must(c.set(p + "k", { "a" => [1, 2] }) && c.get(p + "k") == { "a" => [1, 2] }, "set, get")
must(c.get(p + "none").nil?, "a miss")
must(!c.add(p + "k", "x") && c.add(p + "new", "x"), "add")
c.replace(p + "none", "y")
must(c.replace(p + "new", "y") && c.get(p + "new") == "y" && c.get(p + "none").nil?, "replace")
must(c.cas(p + "new") { |v| v + "z" } && c.get(p + "new") == "yz", "cas")
c.set(p + "s", "b", 0, raw: true)
must(c.append(p + "s", "c") && c.prepend(p + "s", "a") && c.get(p + "s", raw: true) == "abc", "append, prepend")
must(c.incr(p + "n", 1, 100, 40) == 40 && c.incr(p + "n") == 41 && c.decr(p + "n", 2) == 39, "counters")
must(c.decr(p + "n", 100).zero? && c.incr(p + "none").nil?, "counters at their ends")
c.multi { 300.times { |i| c.set("#{p}m#{i}", i) } }
keys = (0..300).map { |i| "#{p}m#{i}" }
must(c.get_multi(*keys).size == 300, "many")
key = p + "with space and ü"
must(c.set(key, "v") && c.get(key) == "v", "a key that text could not have") if ARGV[2] == "binary"
big = "x" * 900_000
must(c.set(p + "big", big, 0, raw: true) && c.get(p + "big", raw: true) == big, "a large value")
must(c.touch(p + "k", 100) && c.gat(p + "k", 100) == { "a" => [1, 2] }, "touch, gat")
must(c.delete(p + "k") && !c.delete(p + "k") && c.get(p + "k").nil?, "delete")
must(c.stats.values.first["pid"].to_i > 0 && c.version.values.first.start_with?("1.6."), "stats, version")
c.close
puts "ok"
