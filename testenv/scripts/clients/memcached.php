<?php
// php-memcached, on libmemcached. Usage: memcached.php HOST PORT binary|text
$p = "php-$argv[3]-";
$m = new Memcached();
$m->setOption(Memcached::OPT_BINARY_PROTOCOL, $argv[3] === "binary");
$m->addServer($argv[1], (int)$argv[2]);
function must($ok, $what) { global $m; if (!$ok) { fwrite(STDERR, "$what: " . $m->getResultMessage() . "\n"); exit(1); } }
must($m->set($p . "k", ["a" => [1, 2]]) && $m->get($p . "k") === ["a" => [1, 2]], "set, get");
must($m->get($p . "none") === false && $m->getResultCode() === Memcached::RES_NOTFOUND, "a miss");
$got = $m->get($p . "k", null, Memcached::GET_EXTENDED);
must($m->cas($got["cas"], $p . "k", "w"), "cas");
must(!$m->cas($got["cas"], $p . "k", "x") && $m->getResultCode() === Memcached::RES_DATA_EXISTS, "cas of another");
must(!$m->add($p . "k", "x") && $m->getResultCode() === Memcached::RES_NOTSTORED || $m->getResultCode() === Memcached::RES_DATA_EXISTS, "add");
must(!$m->replace($p . "none", "x"), "replace nothing");
$m->setOption(Memcached::OPT_COMPRESSION, false);
must($m->set($p . "s", "b") && $m->append($p . "s", "c") && $m->prepend($p . "s", "a") && $m->get($p . "s") === "abc", "append, prepend");
must($m->set($p . "n", 9) && $m->increment($p . "n") === 10 && $m->decrement($p . "n", 3) === 7, "counters");
if ($argv[3] === "binary") {
	must($m->increment($p . "fresh", 1, 40, 100) === 40 && $m->increment($p . "fresh") === 41, "a counter that is made");
}
$many = [];
for ($i = 0; $i < 300; $i++) { $many[$p . "m$i"] = "v$i"; }
must($m->setMulti($many) && $m->getMulti(array_keys($many)) === $many, "many");
$big = str_repeat("x", 1000000);
must($m->set($p . "big", $big) && $m->get($p . "big") === $big, "a large value");
must($m->touch($p . "k", 100), "touch");
must($m->delete($p . "k") && !$m->delete($p . "k") && $m->getResultCode() === Memcached::RES_NOTFOUND, "delete");
must(count($m->getStats()) === 1 && strpos(current($m->getVersion()), "1.6.") === 0, "stats, version");
echo "ok\n";
