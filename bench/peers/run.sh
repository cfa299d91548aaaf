#!/usr/bin/env bash
# Side by side with PyTorch on the CPU, in one command:
#   bench/peers/run.sh [options of compare.py]                      speed
#   bench/peers/run.sh splat SCENE [options of splat_compare.py]    what a fit of splats to a scene reaches
# Needs the built project (npm run build), python3 with venv, and once the network for PyTorch's wheel. PEER_PYTHON names
# an interpreter that has torch already.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv="$here/../../.cache/peers"
python=${PEER_PYTHON:-$venv/bin/python}
if [[ -z ${PEER_PYTHON:-} ]] && ! "$python" -c 'import torch' 2>/dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet numpy torch==2.13.0
fi
script=compare.py
if [[ ${1:-} == splat ]]; then
  script=splat_compare.py
  shift
fi
exec "$python" "$here/$script" "$@"
