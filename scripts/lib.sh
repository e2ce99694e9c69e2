# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What the scripts share. A script sets its options, then: . "$(dirname "$0")/lib.sh"

# Debian's programs and no others: what is installed beside them is not what was tested.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C.UTF-8
export DEBIAN_FRONTEND=noninteractive

# The checkout, and where downloads are kept.
NEFS_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
NEFS_CACHE=${NEFS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/nefs}

# die SENTENCE...: ends the script.
die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# packages_of SECTION...: the packages that scripts/packages lists there.
packages_of() {
	local section

	for section; do
		awk -v want="[$section]" '
			{ sub(/#.*/, "") }
			/^\[/ { in_it = ($1 == want); next }
			in_it && NF { print $1 }' "$NEFS_SOURCE/scripts/packages"
	done
}

is_installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# install_packages SECTION...: installs what is missing of these sections, quietly. A signal is heeded once
# apt-get has ended: half an installation is worse than a wait.
install_packages() {
	local missing=() package output

	command -v apt-get >/dev/null ||
		die "there is no apt-get here: nefs is built on Debian 12 or 13"
	while read -r package; do
		is_installed "$package" || missing+=("$package")
	done < <(packages_of "$@")
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] ||
		die "as root, run: apt-get install --no-install-recommends ${missing[*]}"
	echo "installing ${#missing[@]} packages: ${missing[*]}"
	if ! output=$({ apt-get update && apt-get install -y --no-install-recommends \
		-o DPkg::Lock::Timeout=300 "${missing[@]}"; } 2>&1 </dev/null); then
		tail -n 20 <<<"$output" >&2
		die "the packages above could not be installed"
	fi
}

# build_in DIR [MESON OPTION...]: sets DIR up, or up to date, and builds the default targets.
# Prints nothing unless it fails; TARGETS names other targets. One at a time does so in a directory.
build_in() {
	local dir=$1 output

	shift
	mkdir -p "$dir"
	# shellcheck disable=SC2094 # a directory, for its lock
	if ! output=$({
		flock 9
		if [ -f "$dir/build.ninja" ]; then
			meson configure "$dir" "$@"
		else
			meson setup "$dir" "$NEFS_SOURCE" "$@"
		fi && ninja -C "$dir" ${TARGETS:+"${TARGETS[@]}"}
	} 2>&1 9<"$dir"); then
		printf '%s\n' "$output" >&2
		return 1
	fi
}

# attend COMMAND...: runs it, and lets a signal end this script at once instead of after it: bash heeds a
# trap while it waits for what is in the background, not for what is in the foreground.
attend() {
	"$@" <&0 &
	wait $!
}

# fetch FILE WHAT...: what scripts/fetch gets, in the variables that it names; FILE is for its answer.
fetch() {
	local file=$1

	shift
	attend "$NEFS_SOURCE/scripts/fetch" "$@" >"$file" || die "could not be fetched: $*"
	# shellcheck source=/dev/null
	. "$file"
}

# begin_run "$@": from here on all that this script starts has a mark in its environment, by which end_ours
# finds it; a daemon keeps it. A run within a run has both marks. The script begins anew for that, with
# the same process ID: only what a program was started with can be seen from outside, and this shell's
# forks are to have it, too.
begin_run() {
	if [ "${NEFS_RUN_SHELL-}" != $$ ]; then
		export NEFS_RUN_SHELL=$$ NEFS_TEST_RUN=${NEFS_TEST_RUN:+$NEFS_TEST_RUN:}$$-$EPOCHREALTIME
		exec "$BASH" "$0" "$@"
	fi
	readonly run_mark=${NEFS_TEST_RUN##*:}
}

# find_ours: the processes that this run started and that are there still; in $found. Whoever asked in a
# subshell would find that, too.
find_ours() {
	local environ pid

	found=()
	# The helpers of this very line are in its answer, and are gone by now.
	# shellcheck disable=SC2013 # without a subshell, so that only grep is there to be found
	for environ in $(grep -lszE "^NEFS_TEST_RUN=(.*:)?$run_mark(:.*)?$" /proc/[0-9]*/environ 2>/dev/null); do
		pid=${environ//[!0-9]/}
		[ "$pid" = $$ ] || ! kill -0 "$pid" 2>/dev/null || found+=("$pid")
	done
}

# end_ours: ends all that this run started: as it wishes within 2.5 s, then by force. What a nefs
# of it that had to be killed leaves mounted is taken down.
end_ours() {
	local begin=${EPOCHREALTIME/./} signal=TERM pid target targets=()

	while find_ours && [ ${#found[@]} -gt 0 ]; do
		if [ $((${EPOCHREALTIME/./} - begin)) -gt 2500000 ]; then
			signal=KILL
		fi
		for pid in "${found[@]}"; do
			if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = nefs ]; then
				target=$(tr '\0' '\n' <"/proc/$pid/cmdline" | tail -n 1) || continue
				targets+=("$target")
			fi
		done
		kill -$signal "${found[@]}" 2>/dev/null || true
		sleep 0.1
	done
	for target in ${targets[@]+"${targets[@]}"}; do
		! findmnt -rn -M "$target" >/dev/null || umount -l "$target" 2>/dev/null || true
	done
}
