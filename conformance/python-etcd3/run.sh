#!/usr/bin/env bash
# python-etcd3's own tests, from its source package, with Debian's etcdctl, which they call.
source "$(dirname "$0")/../lib.sh"
VERSION=0.12.0
# The package pins protobuf and grpcio of 2019; its generated code runs on new ones in protobuf's Python mode.
venv wheel grpcio protobuf pytest hypothesis mock pifpaf pytest-timeout tenacity==6.1.0 setuptools six
export PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python
if [[ ! -d $CACHE/python-etcd3-$VERSION ]]; then
    TEMPORARY=$(mktemp -d)
    "$VENV/bin/pip" download -q --disable-pip-version-check --no-deps --no-binary :all: --no-build-isolation \
        -d "$TEMPORARY" "etcd3==$VERSION"
    tar -xzf "$TEMPORARY"/etcd3-*.tar.gz -C "$TEMPORARY"
    mv "$TEMPORARY/etcd3-$VERSION" "$CACHE/python-etcd3-$VERSION"
    rm -rf "$TEMPORARY"
fi
export PYTHON_ETCD_HTTP_URL=http://$FIRST TEST_ETCD_VERSION=v3.4.23 ETCDCTL_API=3
# It counts all keys there are, so it starts without any.
etcdctl --endpoints "$FIRST" del "" --from-key >"$OUT/setup"
export PYTHONPATH=$HERE
recorded env -C "$CACHE/python-etcd3-$VERSION" "$VENV/bin/python" -m pytest -q -p no:cacheprovider -p suite_plugin \
    -o addopts= --timeout 60 --junitxml="$OUT/results.xml" tests/test_etcd3.py
judge junit "$OUT/results.xml"
