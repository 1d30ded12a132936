#!/usr/bin/env bash
# Run a sweep on a machine that has a GPU, torch and transformers, but no network; bring the records back.
#
#   scripts/gpu.sh wheels [3.12]            here, with network: fetch what such a machine lacks into .wheels/
#   scripts/gpu.sh run [SPEC] [MINUTES]     there: install, sweep for so long, pack the records into $OUT
#   scripts/gpu.sh unpack FILE              here: put the records of a run into results/
#
# A run that is stopped by its time limit goes on where it stopped, if results/ travels along.
set -euo pipefail
cd "$(dirname "$0")/.."

fetch() {
    local version=${1:-3.12} python=${PYTHON:-.venv/bin/python}
    rm -rf .wheels && mkdir .wheels
    # Source-only packages are pure Python and are built here; the rest is fetched for the other Python.
    "$python" -m pip wheel -q --no-deps -w .wheels -c constraints.txt fvcore iopath easy-vqa
    "$python" -m pip download -q -d .wheels --find-links .wheels --only-binary=:all: \
        --python-version "$version" --implementation cp --platform manylinux_2_28_x86_64 \
        --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 \
        -c constraints.txt -r requirements-gpu.txt
    # What every such image has, and what is too large to travel.
    rm -f .wheels/{torch,transformers,tokenizers,numpy,pandas,pyarrow,scipy,pillow,nvidia_,triton,matplotlib,sympy}[-_0-9]*.whl
    du -sh .wheels
}

run() {
    local spec=${1:-sweeps/h200.yaml} minutes=${2:-9} out=${OUT:-out} venv=${VENV:-/tmp/vlmnb-gpu}
    local deadline=$((SECONDS + minutes * 60))
    if [ ! -x "$venv/bin/vlmnb" ]; then
        python3 -m venv --system-site-packages "$venv"
        "$venv/bin/python" -m pip install -q --no-index --find-links .wheels -r requirements-gpu.txt
        "$venv/bin/python" -m pip install -q --no-index --no-deps --no-build-isolation -e .
    fi
    mkdir -p "$out"
    export OMP_WAIT_POLICY=PASSIVE HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
    local status=0
    timeout --signal=INT --kill-after=20 $((deadline - SECONDS)) "$venv/bin/vlmnb" sweep "$spec" || status=$?
    "$venv/bin/vlmnb" status "$spec" || true
    tar czf "$out/records.tar.gz" -C results $(cd results && ls -d */ | grep -v '^reports/')
    ls -l "$out"
    # Stopped by the limit is no failure: the next run goes on.
    [ "$status" = 124 ] || [ "$status" = 130 ] || [ "$status" -le 1 ]
}

unpack() { tar xzf "$1" -C results && echo "unpacked into results/: $(tar tzf "$1" | grep -c json) records"; }

case "${1:-}" in
    wheels) fetch "${@:2}" ;;
    run) run "${@:2}" ;;
    unpack) unpack "${@:2}" ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
