#!/usr/bin/env bash
# etcd3gw's own tests, from its wheel: the JSON gateway as OpenStack speaks it.
source "$(dirname "$0")/../lib.sh"
venv etcd3gw==2.7.0 oslotest==6.1.1
export TOOZ_TEST_HTTP_URL=http://$FIRST TOOZ_TEST_ETCD_PORT=$PORT
recorded "$VENV/bin/python" "$HERE/../unittest_results.py" "$OUT/results" \
    etcd3gw.tests.test_client etcd3gw.tests.test_etcd3gw
judge tsv "$OUT/results"
