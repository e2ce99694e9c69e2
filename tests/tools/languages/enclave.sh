#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# enclave.sh DIR IMAGE OTHER: an enclave from a shell script; OTHER is one that lacks everything. The test says
# whose shell and whose programs these are.
set -eu
dir=$1 image=$2 other=$3

# refusal FILE VALUE: the errno's name that it was refused with.
refusal() {
	if said=$( (echo "$2" >"$1") 2>&1); then
		echo OK
	else
		case $said in
		*"Invalid argument"*) echo EINVAL ;;
		*"I/O error"*) echo unknown ;; # dash says no more of any errno
		*) echo "$said" ;;
		esac
	fi
}

# text FILE: its content as a JSON string.
text() {
	printf '"%s"' "$(cat "$1" | tr '\n' '~' | sed 's/~/\\n/g')"
}

echo 64M >"$dir/memory"
echo 2 | tee "$dir/vcpus" >/dev/null
printf '17\n' >"$dir/cid"
echo 1 >"$dir/debug"
echo 30 >"$dir/boot_timeout"
cp "$image" "$dir/image"
cat "$dir/image" >"$image.back"
dd if="$image" of="$dir/image" bs=64k 2>/dev/null
echo 1 >"$dir/start"
wait=$(cat "$dir/wait")
cp "$dir/journal" "$image.journal"
journal=$(sed 's/.*"event":"\([a-z]*\)".*/"\1"/' "$image.journal" | tr '\n' ',')
printf '{"wait":"%s","state":%s,"events":%s,"measurements":%s,"journal":[%s],"refused":"%s","unset":"%s"}\n' \
	"$wait" "$(text "$dir/state")" "$(text "$dir/events")" "$(text "$dir/measurements")" "${journal%,}" \
	"$(refusal "$dir/memory" 64MB)" "$(refusal "$other/start" 1)"
