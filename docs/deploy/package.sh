#!/usr/bin/env bash
# Makes a tarball, a deb and an rpm of what build.sh builds, and their checksums.
#
#   docs/deploy/package.sh dist         VERSION=1.2.3 GOARCH=arm64 docs/deploy/package.sh dist
#
# Takes the nfpm command from the path, or has Go run it.
set -euo pipefail
dist=${1:?folder for the packages}
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$dist"
dist=$(cd "$dist" && pwd)
cd "$root"

nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.0
export VERSION=${VERSION:-0.1.0}
export GOARCH=${GOARCH:-$(go env GOARCH)}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

export OUT=$dist/build-$GOARCH # where nfpm.yaml finds the files
bash docs/deploy/build.sh "$OUT"

name=kumofs_${VERSION}_linux_$GOARCH
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/$name"
cp -r "$OUT/bin" "$OUT/man" "$OUT/completions" LICENSE README.md "$tree/$name/"
cp -r docs/deploy/systemd docs/deploy/etc "$tree/$name/"
tar -C "$tree" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
	--mode=u+rwX,go+rX,go-w --format=gnu -cf - "$name" | gzip -9n >"$dist/$name.tar.gz"

for kind in deb rpm; do
	if command -v nfpm >/dev/null; then
		nfpm package --config docs/deploy/packaging/nfpm.yaml --packager $kind --target "$dist/"
	else
		GOARCH='' go run $nfpm package --config docs/deploy/packaging/nfpm.yaml --packager $kind --target "$dist/"
	fi
done
(cd "$dist" && sha256sum ./*.tar.gz ./*.deb ./*.rpm >SHA256SUMS)
cat "$dist/SHA256SUMS"
