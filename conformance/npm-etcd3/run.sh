#!/usr/bin/env bash
# npm etcd3's own tests. Its newest release leaves them out of the package, so this is the last one that has them.
source "$(dirname "$0")/../lib.sh"
VERSION=1.0.2
WORK=$CACHE/npm-etcd3-$VERSION
if [[ ! -e $WORK/ready ]]; then
    rm -rf "$WORK" && mkdir -p "$WORK"
    TARBALL=$(cd "$WORK" && npm pack --silent "etcd3@$VERSION")
    tar -xzf "$WORK/$TARBALL" -C "$WORK"
    (cd "$WORK/package" && npm install --silent --no-audit --no-fund --ignore-scripts --omit=dev \
        && npm install --silent --no-audit --no-fund --ignore-scripts --no-save \
            mocha@8 chai@4 chai-as-promised@7 chai-subset@1 sinon@9)
    # The certificates are not in the package: new ones, for this run's loopback only.
    CERTS=$WORK/package/lib/src/test/certs
    mkdir -p "$CERTS/certs" "$CERTS/private"
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj '/CN=conformance CA' \
        -keyout "$CERTS/private/ca.key" -out "$CERTS/certs/ca.crt" 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -subj '/CN=localhost' \
        -keyout "$CERTS/private/etcd0.localhost.key" -out "$CERTS/server.csr" 2>/dev/null
    printf 'subjectAltName=DNS:localhost,DNS:etcd0.localhost,IP:127.0.0.1\n' >"$CERTS/server.ext"
    openssl x509 -req -in "$CERTS/server.csr" -CA "$CERTS/certs/ca.crt" -CAkey "$CERTS/private/ca.key" \
        -CAcreateserial -days 3650 -extfile "$CERTS/server.ext" -out "$CERTS/certs/etcd0.localhost.crt" 2>/dev/null
    # Where the compiled client looks for the protocol's files.
    cp "$WORK"/package/proto/*.proto "$WORK/package/lib/proto/"
    touch "$WORK/ready"
fi
node "$HERE/tls_front.js" "$WORK/package/lib/src/test/certs" "$HOST" "$PORT" >"$OUT/port" 2>"$OUT/front.log" &
FRONT=$!
trap 'kill $FRONT 2>/dev/null' EXIT
for _ in $(seq 100); do [[ -s $OUT/port ]] && break; sleep 0.05; done
export ETCD_ADDR=127.0.0.1:$(cat "$OUT/port") ETCD_VERSION=3.4.23
recorded env -C "$WORK/package" node_modules/.bin/mocha --exit --timeout 20000 --reporter json \
    --require lib/src/test/_setup.js 'lib/src/test/*.test.js'
judge mocha "$OUT/log"
