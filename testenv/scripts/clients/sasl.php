<?php
// php-memcached, on libmemcached, with SASL. Usage: sasl.php HOST PORT USER PASSWORD
if (!Memcached::HAVE_SASL) { echo "libmemcached was built without SASL\n"; exit(0); }
function client($user, $password) {
	global $argv;
	$m = new Memcached();
	$m->setOption(Memcached::OPT_BINARY_PROTOCOL, true);
	if ($user !== null) { $m->setSaslAuthData($user, $password); }
	$m->addServer($argv[1], (int)$argv[2]);
	return $m;
}
$m = client($argv[3], $argv[4]);
if (!$m->set("sasl", "v") || $m->get("sasl") !== "v" || !$m->delete("sasl")) {
	fwrite(STDERR, "with the password: " . $m->getResultMessage() . "\n");
	exit(1);
}
foreach ([client($argv[3], $argv[4] . "x"), client("nobody", $argv[4]), client(null, null)] as $m) {
	if ($m->set("sasl", "v")) {
		fwrite(STDERR, "somebody was let in without the password\n");
		exit(1);
	}
}
echo "ok\n";
