#!/usr/bin/env bash
# The Rust etcd-client's own tests, from its crate. Needs cargo, and protoc for the crate's build script.
source "$(dirname "$0")/../lib.sh"
VERSION=0.21.0
WORK=$CACHE/etcd-client-$VERSION
# The crate as the registry has it, unpacked by cargo itself; a new build only when the version changes.
if [[ ! -e $WORK/ready ]]; then
    rm -rf "$WORK" && mkdir -p "$WORK/fetch/src"
    printf '[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[dependencies]\netcd-client = "=%s"\n' \
        "$VERSION" >"$WORK/fetch/Cargo.toml"
    touch "$WORK/fetch/src/lib.rs"
    (cd "$WORK/fetch" && cargo vendor -q ../vendor >/dev/null)
    cp -r "$WORK/vendor/etcd-client" "$WORK/crate"
    rm -rf "$WORK/vendor"
    echo '[workspace]' >>"$WORK/crate/Cargo.toml"
    touch "$WORK/ready"
fi
# The tests name their server in one constant.
sed -i -E "s/(DEFAULT_TEST_ENDPOINT: &str = )\"[^\"]*\"/\1\"$FIRST\"/" "$WORK/crate/tests/testing.rs"
recorded env -C "$WORK/crate" CARGO_TARGET_DIR="$WORK/target" \
    cargo test -q --no-run --tests --config 'profile.dev.debug=false'
# Its auth tests switch authentication on and expect a root user to be there.
export ETCDCTL_API=3
etcdctl --endpoints "$FIRST" user add root:rootpwd >>"$OUT/setup" 2>&1 || true
etcdctl --endpoints "$FIRST" user grant-role root root >>"$OUT/setup" 2>&1 || true
# One at a time: auth tests switch authentication on for everybody else.
recorded env -C "$WORK/crate" CARGO_TARGET_DIR="$WORK/target" \
    cargo test --no-fail-fast --tests --config 'profile.dev.debug=false' -- --test-threads=1
etcdctl --endpoints "$FIRST" user delete root >>"$OUT/setup" 2>&1 || true
judge cargo "$OUT/log"
