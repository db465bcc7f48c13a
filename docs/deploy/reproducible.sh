#!/usr/bin/env bash
# Packages this commit twice, from two folders and with two build caches, and
# compares: fails if a byte differs.
#
#   docs/deploy/reproducible.sh
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for n in one two-with-a-longer-name; do
	git clone -q "$root" "$work/$n"
	(cd "$work/$n" && GOCACHE="$work/cache-$n" bash docs/deploy/package.sh "$work/dist-$n" >/dev/null)
done
cd "$work"
rm -rf dist-*/build-*
if ! diff -r dist-one dist-two-with-a-longer-name; then
	echo "two builds of one commit differ" >&2
	exit 1
fi
cat dist-one/SHA256SUMS
echo "two builds of one commit are the same"
