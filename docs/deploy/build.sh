#!/usr/bin/env bash
# Builds what the packages hold into a folder: the four static binaries, manual
# pages and completions. The same commit, Go version and platform make the same
# bytes.
#
#   docs/deploy/build.sh out            VERSION=1.2.3 GOARCH=arm64 docs/deploy/build.sh out
#
# COMMIT and SOURCE_DATE_EPOCH are git's unless they are set, as they must be where
# there is no repository.
set -euo pipefail
out=${1:?folder to build into}
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$root"

COMMIT=${COMMIT-$(git rev-parse HEAD)}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
cli=github.com/etolabo/kumofs/kumoctl/cli
flags="-s -w -buildid= -X $cli.commit=$COMMIT"
[ -z "${VERSION:-}" ] || flags="$flags -X $cli.version=$VERSION"

rm -rf "$out/bin" "$out/man" "$out/completions"
mkdir -p "$out/bin" "$out/man" "$out/completions"
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$flags" -o "$out/bin/" \
	./kumoctl ./kumomanager/cmd/kumo-manager ./kumoserver/cmd/kumo-server ./kumogateway/cmd/kumo-gateway

# Of this machine's kind, whatever is built for.
extras=$(mktemp -d)
trap 'rm -rf "$extras"' EXIT
GOOS='' GOARCH='' CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$flags" -o "$extras/kumoctl" ./kumoctl
"$extras/kumoctl" man "$out/man"
gzip -9nf "$out"/man/*.1
for shell in bash zsh fish; do
	"$extras/kumoctl" completion $shell >"$out/completions/kumoctl.$shell"
done
find "$out" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
