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

# install_packages SECTION...: installs what is missing of these sections, quietly.
install_packages() {
	local missing=() package log

	# Made at the first boot, which a bare tree has not seen; fusermount3 -u needs it.
	if [ "$(id -u)" = 0 ] && [ ! -e /etc/mtab ]; then
		ln -sf ../proc/self/mounts /etc/mtab
	fi
	command -v apt-get >/dev/null ||
		die "there is no apt-get here: nefs is built on Debian 12 or 13"
	while read -r package; do
		is_installed "$package" || missing+=("$package")
	done < <(packages_of "$@")
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] ||
		die "as root, run: apt-get install --no-install-recommends ${missing[*]}"
	echo "installing ${#missing[@]} packages: ${missing[*]}"
	log=$(mktemp)
	if ! { apt-get update && apt-get install -y --no-install-recommends \
		-o DPkg::Lock::Timeout=300 "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
		tail -n 20 "$log" >&2
		rm -f "$log"
		die "the packages above could not be installed"
	fi
	rm -f "$log"
}

# build_in DIR [MESON OPTION...]: sets DIR up, or up to date, and builds the default targets.
# Prints nothing unless it fails; TARGETS names other targets.
build_in() {
	local dir=$1 log

	shift
	log=$(mktemp)
	if ! {
		if [ -f "$dir/build.ninja" ]; then
			meson configure "$dir" "$@"
		else
			meson setup "$dir" "$NEFS_SOURCE" "$@"
		fi && ninja -C "$dir" ${TARGETS:+"${TARGETS[@]}"}
	} >"$log" 2>&1; then
		cat "$log" >&2
		rm -f "$log"
		return 1
	fi
	rm -f "$log"
}

# mounts_of_nefs: the mount points of every nefs, a line each.
mounts_of_nefs() {
	findmnt -rn -t fuse.nefs -o TARGET || true
}
