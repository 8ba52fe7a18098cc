#!/usr/bin/env bash
# etcd's own end-to-end suite (Debian's golang-etcd-server-dev), which starts and stops clusters by itself on ports from
# 20000 on, so the endpoints given are not used. BINARY names our program; KIND=etcd runs it on etcd itself.
source "$(dirname "$0")/../lib.sh"
SOURCE=/usr/share/gocode/src/go.etcd.io/etcd
TEST=$CACHE/e2e.test
[[ -x $TEST ]] || GO111MODULE=off GOPATH=/usr/share/gocode go test -c -o "$TEST" go.etcd.io/etcd/tests/e2e
BIN=$OUT/bin
mkdir -p "$BIN"
ln -s "$(command -v etcdctl)" "$BIN/etcdctl"
if [[ $KIND == etcd ]]; then
    ln -s "$(command -v etcd)" "$BIN/etcd"
else
    QUORATE_BINARY=$(realpath "${BINARY:-$ROOT/target/release/quorate}")
    export QUORATE_BINARY
    ln -s "$HERE/etcd" "$BIN/etcd"
fi
SKIP=$(sed -e '/^#/d' -e 's/  # .*//' "$HERE/not-selected" | paste -sd'|')
SELECTED=$("$TEST" -test.list '.*' | grep '^Test' | grep -vE "^($SKIP)$" | grep -E "^(${ONLY:-.*})$" | paste -sd'|')
# A folder for the files of its nodes, so that they do not pile up.
mkdir -p "$OUT/tmp"
TMPDIR=$OUT/tmp recorded env -C "$SOURCE/tests/e2e" "$TEST" -test.v -test.timeout "${SUITE_LIMIT_S}s" \
    -test.run "^($SELECTED)$" -bin-dir "$BIN" -cert-dir "$SOURCE/integration/fixtures"
judge go "$OUT/log"
