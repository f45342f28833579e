#!/bin/bash
# tests/lib/limit.sh PROGRAM [ARGUMENT…]: runs a test program, and stops it and its process group after a time limit.
#
# tests/run makes it cargo's runner for test programs. The slowest program takes four minutes on a quiet machine of two cores.
# The test library names each test that has run for over 60 seconds, so the log shows which test hung.
#
# SLIPWAY_TEST_LIMIT  seconds that a program may take (default: 1800)
set -uo pipefail
limit=${SLIPWAY_TEST_LIMIT:-1800}

# In a process group of its own: a signal from the terminal does not reach it, so pass it on.
timeout --kill-after=10 "$limit" "$@" <&0 &
child=$!
trap 'kill -TERM $child 2>/dev/null' INT TERM
wait $child
code=$?
while kill -0 $child 2>/dev/null; do
    wait $child
    code=$?
done
case $code in 124 | 137) echo "tests/lib/limit.sh: stopped after $limit s: $*" >&2 ;; esac
exit $code
