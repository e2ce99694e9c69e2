# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# The suites of scripts/test. Each is a function suite_KIND BUILD-DIR NAME that prints what it does
# and calls tally PASSED FAILED, once or more. What is missing has failed: nothing is left out
# silently. scripts/test sets $suite, its name, and $logs, a directory for files that it makes.
# shellcheck disable=SC2154

# One program or test run lasts at most this long, in seconds: far more than it takes on a busy machine.
LIMIT=${NEFS_TEST_LIMIT:-2400}

# tally PASSED FAILED: adds to the suite's result.
tally() {
	echo "$1 $2" >>"$logs/$suite.counts"
}

# missing SENTENCE...: a failure, because something is not there.
missing() {
	echo "missing: $*"
	tally 0 1
}

# under BUILD-DIR COMMAND...: runs a command of a build with its sanitizers told where to report,
# and to end the program at the first report.
under() {
	local dir=$1 common slowness prefix=(timeout -k 10 "$LIMIT")

	shift
	common="log_path=$logs/$suite.report:halt_on_error=1:abort_on_error=0"
	# ThreadSanitizer of gcc 12 does not bear today's address-space randomisation.
	case $dir in
	*-tsan) slowness=4 prefix+=(setarch "$(uname -m)" -R) ;;
	*-asan) slowness=3 ;;
	*) slowness=1 ;;
	esac
	ASAN_OPTIONS="$common:detect_leaks=1:strict_string_checks=1" \
		UBSAN_OPTIONS="$common:print_stacktrace=1" \
		TSAN_OPTIONS="$common:second_deadlock_stack=1:atexit_sleep_ms=10" \
		NEFS_BUILD=$dir NEFS_SLOWNESS=$slowness "${prefix[@]}" "$@" </dev/null
}

# reports: each sanitizer report is a failure, whatever the program's exit status was.
reports() {
	local report

	for report in "$logs/$suite".report.*; do
		[ -s "$report" ] || continue
		head -n 60 "$report"
		tally 0 1
	done
}

# CUnit's summary has a row: tests TOTAL RAN PASSED FAILED INACTIVE.
suite_unit() {
	local program output status row

	for program in "$1"/tests/unit/test_*; do
		if [ ! -f "$program" ] || [ ! -x "$program" ]; then
			continue
		fi
		output=$logs/$suite.${program##*/}
		status=0
		LIMIT=900 under "$1" "$program" >"$output" 2>&1 || status=$?
		row=$(awk '$1 == "tests" && NF >= 6 { print $4, $5 + $6 }' "$output" | tail -n 1)
		if [ -z "$row" ] || { [ "$status" != 0 ] && [ "${row#* }" = 0 ]; }; then
			row="${row% *}" && row="${row:-0} 1"
		fi
		echo "${program##*/}: exit status $status, passed and failed: $row"
		[ "${row#* }" = 0 ] || tail -n 60 "$output"
		# shellcheck disable=SC2086 # two numbers
		tally $row
	done
	[ -s "$logs/$suite.counts" ] || missing "there is no test in $1/tests/unit"
	reports
}

# tally_line STATUS FILE: what a program told in its last line, "N passed, N failed".
tally_line() {
	local row

	row=$(tail -n 1 "$2" | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p')
	if [ -z "$row" ] || [ "${row% *}" = 0 ] || { [ "$1" != 0 ] && [ "${row#* }" = 0 ]; }; then
		row="${row% *}" && row="${row:-0} 1"
	fi
	echo "exit status $1, passed and failed: $row"
	[ "${row#* }" = 0 ] || tail -n 60 "$2"
	# shellcheck disable=SC2086 # two numbers
	tally $row
}

suite_conformance() {
	local program=$1/tests/conformance/ne-conformance status=0

	if [ ! -x "$program" ]; then
		missing "$program"
		return
	fi
	under "$1" "$program" --device sim >"$logs/$suite.output" 2>&1 || status=$?
	tally_line $status "$logs/$suite.output"
	reports
}

# pytest_of BUILD-DIR PATH OPTION...: counts are from its XML; a skip is a failure.
pytest_of() {
	local xml=$logs/$suite.xml status=0

	under "$1" /usr/bin/python3 -B -m pytest -q -rfEs --tb=short -p no:cacheprovider \
		--junitxml="$xml" --basetemp="$logs/$suite.tmp" "$NEFS_SOURCE/$2" "${@:3}" || status=$?
	echo "pytest: exit status $status"
	"$NEFS_SOURCE/scripts/junit-counts" "$xml" >"$logs/$suite.row" ||
		echo "pytest left no result" >"$logs/$suite.row"
	tally_line $status "$logs/$suite.row"
	reports
}

# in_lab BUILD-DIR NAME ARGUMENT...: scripts/lab with these arguments, tallied as NAME.
in_lab() {
	local output=$logs/$suite.$2.output status=0

	"$NEFS_SOURCE/scripts/lab" --build "$1" --time "$LIMIT" --keep-logs "$logs/$suite.$2.lab" \
		"${@:3}" >"$output" 2>&1 </dev/null || status=$?
	tally_line $status "$output"
	[ $status = 0 ] || tail -n 30 "$logs/$suite.$2.lab"/*.log
}

# compile_tests: so that no virtual machine has to, which takes ten times as long.
compile_tests() {
	PYTHONDONTWRITEBYTECODE='' PYTHONPYCACHEPREFIX="$logs/pycache" /usr/bin/python3 -m pytest -q \
		--collect-only -p no:cacheprovider "$NEFS_SOURCE/tests/fs" >/dev/null
}

# pytest_in_lab BUILD-DIR NAME MOUNT-OPTIONS PYTEST-ARGUMENTS LAB-OPTION...: the fs suite, or some of its
# files, on backend=kernel.
pytest_in_lab() {
	local xml=/tmp/nefs-lab.xml

	# The slowness is that of a virtual machine without hardware's help.
	in_lab "$1" "$2" "${@:5}" run env NEFS_BUILD="$1" NEFS_SLOWNESS=6 NEFS_MOUNT_OPTIONS="$3" \
		NEFS_KERNEL="$NEFS_KERNEL" NEFS_VECTOR4="$NEFS_VECTOR4" \
		NEFS_BUSYBOX="$NEFS_BUSYBOX" NEFS_LAB_TOOLS="$NEFS_LAB_TOOLS" NE_SAMPLE="$1/tests/ne_sample" \
		NE_SAMPLE_LARGE="$1/tests/ne_sample_large" PYTHONPYCACHEPREFIX="$logs/pycache" \
		sh -c "cd '$NEFS_SOURCE/tests/fs' && /usr/bin/python3 -m pytest -q -rfEsP --tb=short \
			--color=no -p no:cacheprovider --rootdir=. --junitxml=$xml $4; status=\$?
			'$NEFS_SOURCE/scripts/junit-counts' $xml; exit \$status"
}

# make_sample PROGRAM REGIONS: the sample client of the kernel's source, with so many regions of 2 MiB. Each
# suite has a program of its own: two may run at the same time.
make_sample() {
	sed "s/^\(#define NE_DEFAULT_NR_MEM_REGIONS.*\)(256)/\1($2)/" "$NEFS_SAMPLE" |
		cc -O1 -w -pthread -o "$1" -x c - || missing "the sample client, ${1##*/}"
}

# A file of the fs suite that takes as long as all others together, and sleeps most of the time.
SLOW=tests/fs/test_slow_device.py

# On Linux's own driver, in virtual machines: the table of cases, the fs suite, enclaves that boot, the
# largest start, and one start for each command whose reply is lost. Those wait, for 120 s each, and so
# all at the same time.
# What has a suite of its own.
LAB_SMALL='not drop and not vm and not lab_vm and not large and not machine'

# Those about what a driver has a part in. The others, which take most of the time, look at names and values: on
# Linux's driver they run as suite lab-whole.
LAB_FILES=(test_lab.py test_life.py test_failures.py test_image.py test_journal.py test_console.py test_poll.py
	test_stress.py test_log.py test_privileges.py)

suite_lab() {
	local command

	[ "$suite" = lab-conformance ] || compile_tests
	case $suite in
	lab-conformance)
		in_lab "$1" table --nodes 2 --cpus 16 run \
			"$1/tests/conformance/ne-conformance" --device kernel --pool 2-7
		;;
	lab-fs)
		pytest_in_lab "$1" fs backend=kernel,heartbeat=no "-m '$LAB_SMALL' ${LAB_FILES[*]}"
		;;
	lab-whole)
		pytest_in_lab "$1" whole backend=kernel,heartbeat=no "--ignore=${SLOW##*/} -m '$LAB_SMALL'"
		;;
	lab-slow)
		pytest_in_lab "$1" slow backend=kernel,heartbeat=no "${SLOW##*/}"
		;;
	lab-vm)
		make_sample "$1/tests/ne_sample" 256
		pytest_in_lab "$1" vm backend=kernel "-m lab_vm test_lab_enclave.py test_lab_clients.py" \
			--vm qemu --cpus 6 --pool 2-5 --pages 500 --memory 2048
		;;
	lab-machine)
		pytest_in_lab "$1" machine backend=kernel,heartbeat=no "-m machine test_lab_machine.py" \
			--nodes 2 --cpus 16 --pages 200 --gigantic 1 --memory 3584 --regions 8
		;;
	lab-large)
		make_sample "$1/tests/ne_sample_large" 1024
		pytest_in_lab "$1" large backend=kernel,heartbeat=no "-m large test_lab_clients.py" \
			--cpus 4 --pool 2-3 --pages 1040 --memory 4096 --regions 1024
		;;
	lab-drop)
		for command in SLOT_ALLOC SLOT_ADD_MEM SLOT_ADD_VCPU ENCLAVE_START; do
			pytest_in_lab "$1" $command backend=kernel,heartbeat=no \
				"-m drop -k $command test_lab.py" --cpus 6 --pool 2-5 --pages 100 --memory 768 &
		done
		wait
		;;
	esac
}

# On the oldest libfuse each request of each kind, but nothing that takes its time for another's sake: machines,
# loads, devices that hang; nor what a build without tests has not got.
suite_fs() {
	local choice=()

	if [[ $1 == *-fuse310 ]]; then
		ldd "$1/nefs/nefs" | grep "libfuse3.*$NEFS_FUSE310" || missing "nefs with libfuse 3.10"
		choice=(-m 'not long and not vm and not preload' --ignore="$NEFS_SOURCE/tests/fs/test_stress.py")
	fi
	pytest_of "$1" tests/fs --ignore="$NEFS_SOURCE/$SLOW" ${choice[@]+"${choice[@]}"}
}

# model_run BUILD-DIR NAME ARGUMENT...
model_run() {
	local output=$logs/$suite.$2.output status=0

	LIMIT=7200 under "$1" /usr/bin/python3 -B "$NEFS_SOURCE/tests/model/run.py" "${@:3}" >"$output" 2>&1 || status=$?
	head -n 1 "$output"
	tally_line $status "$output"
}

# Random operations, each compared with the contract as a program: the same ones each time, then others. The seed
# of those is in the log.
suite_model() {
	if [[ $suite == model-long* ]]; then
		model_run "$1" same --operations 900000
		model_run "$1" other --operations 100000 --random
	else
		model_run "$1" same --operations 40000
		model_run "$1" other --operations 10000 --random
	fi
	reports
}

# One user's worst against all others: 3 s of each, or 30.
suite_hostile() {
	[[ $suite != hostile-long* ]] || export NEFS_HOSTILE_SECONDS=30
	pytest_of "$1" tests/hostile
}

suite_slow() {
	pytest_of "$1" "$SLOW"
}

suite_systemd() {
	pytest_of "$1" tests/systemd
}

# In a tree of its own, which has the tools.
suite_tools() {
	local share=$logs/$suite.share status=0

	mkdir -p "$share"
	NEFS_BUILD=$1 NEFS_SLOWNESS=2 "$NEFS_SOURCE/scripts/tools-tree" --share "$share" \
		timeout -k 10 "${NEFS_TEST_LIMIT:-3600}" /usr/bin/python3 -B -m pytest -q -rfEs --tb=short \
		-p no:cacheprovider --junitxml="$share/xml" --basetemp=/tmp/pytest "$NEFS_SOURCE/tests/tools" \
		</dev/null || status=$?
	echo "pytest: exit status $status"
	"$NEFS_SOURCE/scripts/junit-counts" "$share/xml" >"$logs/$suite.row" ||
		echo "pytest left no result" >"$logs/$suite.row"
	tally_line $status "$logs/$suite.row"
}

suite_eif() {
	pytest_of "$1" tests/eif
}

# Each file of the corpus is a test: the program must come back from it. They are played in one go, and one by one
# only where that fails.
suite_fuzz() {
	local corpus program file output=$logs/$suite.output status=0

	if [ "$suite" = fuzz-long ]; then
		"$NEFS_SOURCE/scripts/fuzz" --build "$1" --minutes "${NEFS_FUZZ_MINUTES:-20}" \
			${NEFS_TEST_LOGS:+--found "$NEFS_TEST_LOGS"} >"$output" 2>&1 </dev/null || status=$?
		cat "$output"
		tally_line $status "$output"
		return
	fi
	for corpus in "$NEFS_SOURCE"/tests/fuzz/corpus/*; do
		program=$1/tests/fuzz/fuzz_${corpus##*/}
		if [ ! -x "$program" ]; then
			missing "$program"
			continue
		fi
		if under "$1" "$program" "$corpus" >"$output" 2>&1; then
			tally "$(sed -n 's/^\([0-9]*\) inputs replayed$/\1/p' "$output")" 0
			continue
		fi
		for file in "$corpus"/*; do
			if under "$1" "$program" "$file"; then
				tally 1 0
			else
				echo "$program $file: exit status $?"
				tally 0 1
			fi
		done
	done
	[ -s "$logs/$suite.counts" ] || missing "there is no corpus in tests/fuzz"
	reports
}

# suite_build BUILD-DIR: one test, that it builds without a warning.
suite_build() {
	local options=(-Dwerror=true)

	case $1 in
	*-clang) export CC=clang ;;
	*-asan) export CC=gcc && options+=("-Db_sanitize=address,undefined") ;;
	*-tsan) export CC=gcc && options+=(-Db_sanitize=thread) ;;
	*-fuse310)
		# The oldest libfuse that nefs is for, beside the machine's.
		export CC=gcc
		export PKG_CONFIG_PATH=$NEFS_FUSE310/pkgconfig LDFLAGS=-Wl,-rpath,$NEFS_FUSE310
		options+=(-Dtests=false)
		;;
	*) export CC=gcc ;;
	esac
	# The tests and the benchmarks with them: they have to compile as well.
	# shellcheck disable=SC2034 # for build_in
	TARGETS=(all)
	[[ $1 == *-fuse310 ]] || TARGETS+=(meson-test-prereq meson-benchmark-prereq)
	if build_in "$1" "${options[@]}"; then
		tally 1 0
	else
		tally 0 1
	fi
}

# .clang-format is for version 14, Debian 12's: others differ in details.
suite_format() {
	local version file

	version=$(clang-format --version | sed -n 's/.*version \([0-9]*\)\..*/\1/p')
	if [ "$version" != 14 ]; then
		echo "the C style is checked by clang-format 14; this is $version"
		# shellcheck disable=SC2034 # for scripts/test
		note="not for clang-format $version"
		return
	fi
	while IFS= read -r file; do
		if clang-format --dry-run -Werror "$file"; then
			tally 1 0
		else
			tally 0 1
		fi
	done < <(cd "$NEFS_SOURCE" && find "$PWD"/{include,nefs,backend,tests} -name '*.[ch]' | sort)
}

suite_shell() {
	local file dialect

	cd "$NEFS_SOURCE" || return 1
	for file in .ci/run scripts/*; do
		if [[ $file != *.sh ]] && ! head -n 1 "$file" | grep -q '^#!.*\(bash\|busybox sh\)$'; then
			continue
		fi
		dialect=bash
		! head -n 1 "$file" | grep -q 'busybox sh$' || dialect=dash
		if shellcheck -x -P SCRIPTDIR -s $dialect "$file"; then
			tally 1 0
		else
			tally 0 1
		fi
	done
}

# checked NAME COMMAND...: a check that tells in its last line, "N passed, N failed".
checked() {
	local status=0

	"${@:2}" >"$logs/$suite.$1.output" 2>&1 || status=$?
	tally_line $status "$logs/$suite.$1.output"
}

# A signal ends all of a run, amid suites of each row. The long form, for each suite:
# scripts/check-interrupt --all
suite_interrupt() {
	local status=0

	# Whatever a test makes elsewhere is left behind.
	if grep -rn '"/tmp/[^"]*XXXXXX"' "$NEFS_SOURCE/tests"; then
		echo "temporary files of tests are below \$TMPDIR (tests/unit/temporary.h)"
		tally 0 1
	fi
	"$NEFS_SOURCE/scripts/check-interrupt" --within 20 lab-conformance:INT unit:TERM slow:INT demo:TERM \
		>"$logs/$suite.output" 2>&1 || status=$?
	tally_line $status "$logs/$suite.output"
}

# docs/ioctl.md says what the table of cases says, what comments and documents refer to is there, no include runs up,
# and docs/errors.md has each sentence by which nefs refuses something.
suite_doc() {
	checked ioctl "$NEFS_SOURCE/scripts/check-ioctl-doc" \
		"$1/tests/conformance/ne-conformance" "$NEFS_SOURCE/docs/ioctl.md"
	checked references "$NEFS_SOURCE/scripts/check-references"
	checked references-try "$NEFS_SOURCE/scripts/check-references" --try
	checked layers "$NEFS_SOURCE/scripts/check-layers"
	checked layers-try "$NEFS_SOURCE/scripts/check-layers" --try
	checked errors "$NEFS_SOURCE/scripts/check-errors"
	checked errors-try "$NEFS_SOURCE/scripts/check-errors" --try
}

# What the compiler and the linker were asked for is in the programs.
suite_hardening() {
	checked programs "$NEFS_SOURCE/scripts/check-hardening" "$1/nefs/nefs" "$1/backend/eif/nefs-eif" \
		"$1/backend/vfio-user/nefs-device"
	checked try "$NEFS_SOURCE/scripts/check-hardening" --try
}

# The bars that nefs is held to. What is left over of a run that was killed is in $logs, which goes.
suite_ratios() {
	local status=0

	TMPDIR=$logs timeout -k 30 "$LIMIT" "$NEFS_SOURCE/scripts/bench" --check "$1" \
		>"$logs/$suite.output" 2>&1 </dev/null || status=$?
	tally_line $status "$logs/$suite.output"
}

suite_man() {
	local page

	for page in "$NEFS_SOURCE"/docs/man/*.[1-8]; do
		if mandoc -T lint -W warning "$page"; then
			tally 1 0
		else
			tally 0 1
		fi
	done
	for page in nefs.5 nefs.8 nefs-device.8 nefs-eif.1; do
		[ -s "$NEFS_SOURCE/docs/man/$page" ] || missing "docs/man/$page"
	done
}

# On a mount of its own, away from one that somebody may use.
suite_demo() {
	mkdir -p "$logs/demo"
	if NEFS_MOUNT=$logs/demo timeout -k 30 180 "$NEFS_SOURCE/scripts/demo" </dev/null; then
		tally 1 0
	else
		echo "exit status $?"
		tally 0 1
	fi
}
