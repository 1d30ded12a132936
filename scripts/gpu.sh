#!/usr/bin/env bash
# Run a sweep on a machine that has a GPU, torch and transformers, but no network; bring the records back.
#
#   scripts/gpu.sh wheels [3.12] [130]      here, with network: fetch what a machine with that Python and that
#                                           CUDA lacks into .wheels/1, .wheels/2, ... of 25 MiB at most
#   scripts/gpu.sh install                  there: install what has travelled of .wheels/; again for each load
#   scripts/gpu.sh run [SPEC] [MINUTES]     there: install, sweep for so long, pack the records into $OUT
#   scripts/gpu.sh unpack FILE              here: put the records of a run into results/
#
# A run that is stopped by its time limit goes on where it stopped, if results/ travels along.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${VENV:-/tmp/vlmnb-gpu}

fetch() {
    local version=${1:-3.12} cuda=${2:-130} python=${PYTHON:-.venv/bin/python} part=1 size=0 wheel
    rm -rf .wheels && mkdir .wheels
    # Source-only packages are pure Python and are built here; the rest is fetched for the other Python.
    "$python" -m pip wheel -q --no-deps -w .wheels -c constraints.txt fvcore iopath easy-vqa
    local there=(-q -d .wheels --find-links .wheels --only-binary=:all: -c constraints.txt
        --python-version "$version" --implementation cp --platform manylinux_2_28_x86_64
        --platform manylinux_2_24_x86_64 --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64)
    grep -Ev '^(bitsandbytes|torchao)$' requirements-gpu.txt > .wheels/others.txt
    "$python" -m pip download "${there[@]}" -r .wheels/others.txt
    # These two ask for torch, which is there in a build of its own.
    "$python" -m pip download "${there[@]}" --no-deps bitsandbytes torchao
    # What every such image has, and what is too large to travel: kernels for other GPUs, names of countries
    # in two hundred languages.
    rm -f .wheels/others.txt .wheels/{torch,transformers,tokenizers,huggingface_hub,hf_xet,numpy,pandas,pyarrow}[-_0-9]*.whl \
        .wheels/{scipy,pillow,nvidia_,triton,matplotlib,sympy,fonttools,kiwisolver,contourpy}[-_0-9]*.whl
    lighten "$python" .wheels/bitsandbytes-*.whl "libbitsandbytes_(?!cpu|cuda$cuda\\.)"
    lighten "$python" .wheels/pycountry-*.whl "/locales/"
    for wheel in .wheels/*.whl; do
        size=$((size + $(stat -c %s "$wheel")))
        if [ $size -gt $((25 << 20)) ]; then part=$((part + 1)) size=$(stat -c %s "$wheel"); fi
        mkdir -p ".wheels/$part" && mv "$wheel" ".wheels/$part/"
    done
    du -sh .wheels/*
}

# Takes files that match a pattern out of a wheel and out of its list of contents.
lighten() {
    "$1" - "$2" "$3" <<'PYTHON'
import re, shutil, sys, zipfile
wheel, unwanted = sys.argv[1], re.compile(sys.argv[2])
with zipfile.ZipFile(wheel) as full, zipfile.ZipFile(wheel + ".part", "w", zipfile.ZIP_DEFLATED) as light:
    for item in full.infolist():
        content = full.read(item)
        if item.filename.endswith(".dist-info/RECORD"):
            lines = content.decode().splitlines(keepends=True)
            content = "".join(line for line in lines if not unwanted.search(line)).encode()
        if not unwanted.search(item.filename):
            light.writestr(item, content)
shutil.move(wheel + ".part", wheel)
PYTHON
}

install() {
    [ -x "$venv/bin/python" ] || python3 -m venv --system-site-packages "$venv"
    # Without looking for dependencies: they may come with the next load, and torch is the machine's own.
    "$venv/bin/python" -m pip install -q --no-index --no-deps --no-compile .wheels/*/*.whl
    "$venv/bin/python" -m pip install -q --no-index --no-deps --no-compile --no-build-isolation -e .
}

run() {
    local spec=${1:-sweeps/h200.yaml} minutes=${2:-9} out=${OUT:-out}
    local deadline=$((SECONDS + minutes * 60))
    [ -x "$venv/bin/vlmnb" ] || install
    mkdir -p "$out"
    export OMP_WAIT_POLICY=PASSIVE HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
    local status=0 folders
    timeout --signal=INT --kill-after=20 $((deadline - SECONDS)) "$venv/bin/vlmnb" sweep "$spec" || status=$?
    "$venv/bin/vlmnb" status "$spec" || true
    folders=$(cd results && find . -mindepth 1 -maxdepth 1 -type d ! -name '.*' ! -name reports)
    if [ -n "$folders" ]; then tar czf "$out/records.tar.gz" -C results $folders; fi
    ls -l "$out"
    # Stopped by the limit is no failure: the next run goes on.
    [ "$status" = 124 ] || [ "$status" = 130 ] || [ "$status" -le 1 ]
}

unpack() { tar xzf "$1" -C results && echo "unpacked into results/: $(tar tzf "$1" | grep -c json) records"; }

case "${1:-}" in
    wheels) fetch "${@:2}" ;;
    install) install ;;
    run) run "${@:2}" ;;
    unpack) unpack "${@:2}" ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
