#!/usr/bin/env bash
# Runs fuzz targets one after the other, each for a time: those of all codecs, or
# of the folders that are named. Ends at the first that finds something.
# Usage: fuzz.sh [TIME (10m) [FOLDER...]]; go test's -parallel is that of $PARALLEL.
set -euo pipefail
cd "$(dirname "$0")/../.."
time=${1:-10m}
shift || true
[ $# -gt 0 ] || set -- $(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u)
for dir in "$@"; do
	for target in $(grep -ho '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | cut -d' ' -f2); do
		echo "== $dir $target"
		go test -run NONE -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 5s ${PARALLEL:+-parallel "$PARALLEL"} "./$dir"
	done
done
