#!/usr/bin/env bash
# Runs every fuzz target of the module for SECONDS (default 30).
set -euo pipefail
cd "$(dirname "$0")/../.."
for dir in $(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do
	for target in $(grep -ho '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | cut -d' ' -f2); do
		echo "== $dir $target"
		go test -run NONE -fuzz "^$target\$" -fuzztime "${1:-30}s" "./$dir"
	done
done
