#!/usr/bin/env bash
# What a person does with etcdctl, word for word: the answers are compared with the exact text that etcd's own gives.
source "$(dirname "$0")/../lib.sh"
export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=$FIRST
recorded python3 "$HERE/script.py" "$OUT/results" "$ENDPOINTS"
judge tsv "$OUT/results"
