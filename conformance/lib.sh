# Sourced by each suite's run.sh. Sets, from the arguments and the environment:
#   ENDPOINTS  the first argument, host:port separated by commas     FIRST, HOST, PORT  its first one, and the parts
#   KIND       etcd or quorate (default): which list of expected failures holds
#   CACHE      where installed clients are kept between runs
#   SUITE, HERE, OUT   the suite's name, its folder, a fresh folder for what it prints
set -euo pipefail

ENDPOINTS=${1:?usage: run.sh HOST:PORT[,HOST:PORT...]}
KIND=${KIND:-quorate}
HERE=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
SUITE=$(basename "$HERE")
ROOT=$(cd "$HERE/../.." && pwd)
CACHE=${CONFORMANCE_CACHE:-$ROOT/target/conformance}
FIRST=${ENDPOINTS%%,*}
HOST=${FIRST%:*}
PORT=${FIRST##*:}
OUT=$CACHE/out/$SUITE
# No suite may outlive this; each needs about a minute on etcd.
SUITE_LIMIT_S=${SUITE_LIMIT_S:-600}
rm -rf "$OUT" && mkdir -p "$OUT"

# A virtual environment of the suite's own, made once for a list of packages: venv PACKAGE...
venv() {
    VENV=$CACHE/venv-$SUITE-$(cksum <<<"$*" | cut -d' ' -f1)
    if [[ ! -e $VENV/ready ]]; then
        python3 -m venv "$VENV"
        "$VENV/bin/pip" install -q --disable-pip-version-check "$@"
        touch "$VENV/ready"
    fi
}

# Runs a command in a session of its own with all its output in $OUT/log; a failed test is the judge's business.
recorded() {
    timeout --kill-after=5 "$SUITE_LIMIT_S" "$@" >"$OUT/log" 2>&1 </dev/null || echo "exit status $?" >>"$OUT/log"
}

# judge FORMAT FILE: the verdict, and the end of the log when it is bad.
judge() {
    if ! python3 "$HERE/../judge.py" --suite "$SUITE" --format "$1" --expected "$HERE/expected-failures.$KIND" "$2"; then
        echo "  (log: $OUT/log)"
        return 1
    fi
}
