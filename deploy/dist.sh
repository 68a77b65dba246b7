#!/bin/sh
# Writes the release into DIR: for each PLATFORM (such as linux/amd64) an archive of static binaries, for Linux a .deb and an .rpm as well,
# one container image for all Linux platforms (an OCI image layout in a tar file), a bill of materials in CycloneDX, and SHA256SUMS. The same
# source, version and Go write the same bytes.
#   deploy/dist.sh DIR VERSION COMMIT PLATFORM...
set -eu
NFPM=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.4
dir=$1 version=$2 commit=$3
shift 3
cd "$(dirname "$0")/.."
umask 022
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Every file carries the time of the commit.
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH="$epoch"

# documents lists the files that go into an archive beside the binaries: those of the repository, and no configuration or data of whoever
# makes the release.
documents() {
	if git rev-parse --verify -q HEAD >/dev/null 2>&1; then
		git ls-files LICENSE README.md CHANGELOG.md conf docs
	else
		find LICENSE README.md CHANGELOG.md conf docs -path conf/data -prune -o -type f -print
	fi
}

images=
for platform in "$@"; do
	os=${platform%/*} arch=${platform#*/}
	name=lmqgate_${version}_${os}_${arch}
	tree=$work/$name
	mkdir -p "$tree/plugins"
	plugins=
	for main in plugins/*/main.go; do
		plugins="$plugins ./${main%/main.go}"
	done
	build() {
		CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=false -tags grpcnotrace \
			-ldflags "-s -w -buildid= -X main.buildVersion=$version -X main.buildCommit=$commit" -o "$@"
	}
	build "$tree/lmqgate" ./cmd/lmqgate
	# shellcheck disable=SC2086 # one argument each
	build "$tree/plugins/" $plugins
	documents | tar -cf - -T - | tar -C "$tree" --no-same-permissions -xf -
	tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -C "$work" -cf - "$name" | gzip -6n >"$dir/$name.tar.gz"
	[ "$os" = linux ] || continue
	images="$images $arch=$tree"
	for packager in deb rpm; do
		ARCH=$arch VERSION=$version TREE=$tree \
			go run "$NFPM" package --config deploy/package/nfpm.yaml --packager "$packager" --target "$dir/$name.$packager" >/dev/null
	done
done

if [ -n "$images" ]; then
	# shellcheck disable=SC2086 # one argument each
	go run ./deploy/image -dir "$work/image" -version "$version" -revision "$commit" -epoch "$epoch" $images
	tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" --mode=u=rwX,go=rX -C "$work/image" \
		-cf "$dir/lmqgate_${version}_oci.tar" oci-layout index.json blobs
fi

# What the binaries are made of, as Go has recorded it in each.
go run ./deploy/sbom -version "$version" -epoch "$epoch" "$work"/*/lmqgate "$work"/*/plugins/* >"$dir/lmqgate_${version}_sbom.cdx.json"

cd "$dir"
sha256sum lmqgate_* >SHA256SUMS
