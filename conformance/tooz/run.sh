#!/usr/bin/env bash
# tooz's own tests, from its wheel, on its etcd3gw driver: groups, leaders and locks as OpenStack uses them.
source "$(dirname "$0")/../lib.sh"
venv 'tooz[etcd3gw]==9.1.0' oslotest==6.1.1 sysv_ipc redis pymysql pymemcache psycopg2-binary
export TOOZ_TEST_URL="etcd3+http://$FIRST?api_version=v3" TOOZ_TEST_DRIVERS=etcd3gw
recorded "$VENV/bin/python" "$HERE/../unittest_results.py" "$OUT/results" tooz.tests.test_coordination
judge tsv "$OUT/results"
