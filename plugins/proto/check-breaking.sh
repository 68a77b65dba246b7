#!/bin/sh
# check-breaking.sh BUF...: fails where the contract breaks with an image in frozen/, and where that would not be noticed.
set -eu
cd "$(dirname "$0")"
for image in frozen/*.binpb; do
	"$@" breaking --against "$image"
done

# The check on the check: a field that is gone must be told by its name.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -R buf.yaml lmqgate "$copy"
auth=lmqgate/plugin/v1/auth.proto
sed '/ string username = 3;/d' "$auth" >"$copy/$auth"
if cmp -s "$auth" "$copy/$auth"; then
	echo "check-breaking.sh: the field that it removes for a trial is not there any more; choose another" >&2
	exit 1
fi
if told=$(cd "$copy" && "$@" breaking --against "$OLDPWD/frozen/v1.binpb" 2>&1); then
	echo "check-breaking.sh: buf breaking takes a contract without the field username" >&2
	exit 1
fi
case $told in
*username*) ;;
*)
	echo "check-breaking.sh: buf breaking failed for another reason: $told" >&2
	exit 1
	;;
esac
