#!/usr/bin/env bash
# Run a sweep on a machine that has a GPU and torch, but no network; bring the records back.
#
#   scripts/gpu.sh wheels [3.12] [130]      here, with network: download the packages that a machine with this
#                                           Python and CUDA lacks to .wheels/1, .wheels/2, ... (18 MiB each)
#   scripts/gpu.sh install                  there: install the packages in .wheels/; repeat for each load
#   scripts/gpu.sh run [SPEC] [MINUTES]     there: install, sweep for that long, pack the records into $OUT
#   scripts/gpu.sh unpack FILE              here: put the records of a run into results/
#
# A run that its time limit stopped continues where it stopped if you copy results/ too. Records that are in
# git already are not packed. A wrong argument is one line and exit code 2, and changes nothing.
set -euo pipefail
caller=$PWD
cd "$(dirname "$0")/.."

venv=${VENV:-/tmp/vlmnb-gpu}

die() {
    echo "scripts/gpu.sh: $*" >&2
    exit 2
}

fetch() {
    local version=${1:-3.12} cuda=${2:-130} python=${PYTHON:-.venv/bin/python} part=1 size=0 wheel new=.wheels.new
    [ $# -le 2 ] || die "wheels takes a Python version and a CUDA version, got $# arguments"
    [[ $version =~ ^3\.[0-9]+$ ]] || die "wheels: '$version' is not a Python version such as 3.12"
    [[ $cuda =~ ^[0-9]{2,3}$ ]] || die "wheels: '$cuda' is not a CUDA version such as 130, which means 13.0"
    command -v "$python" > /dev/null || die "wheels: there is no $python; run make, or set PYTHON to an interpreter"
    # Keep the old wheels until all new ones are here.
    rm -rf $new && mkdir $new && trap "rm -rf $new" EXIT
    # Errors only: pip warns about every release that the other Python cannot use.
    local pip=("$python" -m pip --disable-pip-version-check -qq)
    # Packages without wheels are pure Python and are built here; the others are downloaded for that Python.
    "${pip[@]}" wheel --no-deps -w $new -c constraints.txt fvcore iopath easy-vqa
    local there=(-d $new --find-links $new --only-binary=:all: -c constraints.txt
        --python-version "$version" --implementation cp --platform manylinux_2_28_x86_64
        --platform manylinux_2_24_x86_64 --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64)
    grep -Ev '^(bitsandbytes|torchao)$' requirements-gpu.txt > $new/others.txt
    "${pip[@]}" download "${there[@]}" -r $new/others.txt
    # These two depend on torch, which that machine has in its own build.
    "${pip[@]}" download "${there[@]}" --no-deps bitsandbytes torchao
    # Remove what every such machine has, and what is too large: CUDA kernels for other GPUs, country names in
    # two hundred languages.
    rm -f $new/others.txt $new/{torch,hf_xet,numpy,pandas,pyarrow}-[0-9]*.whl \
        $new/{scipy,pillow,triton,matplotlib,sympy,fonttools,kiwisolver,contourpy}-[0-9]*.whl
    lighten "$python" $new/bitsandbytes-*.whl "libbitsandbytes_(?!cpu|cuda$cuda\\.)"
    lighten "$python" $new/pycountry-*.whl "/locales/"
    for wheel in $new/*.whl; do
        size=$((size + $(stat -c %s "$wheel")))
        if [ $size -gt $((18 << 20)) ]; then part=$((part + 1)) size=$(stat -c %s "$wheel"); fi
        mkdir -p "$new/$part" && mv "$wheel" "$new/$part/"
    done
    rm -rf .wheels && mv $new .wheels
    du -sh .wheels/*
}

# Remove the files that match a pattern from a wheel and from its list of contents.
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
    [ $# = 0 ] || die "install takes no argument, got: $*"
    compgen -G '.wheels/*/*.whl' > /dev/null \
        || die "install: nothing in .wheels/; run scripts/gpu.sh wheels on a machine with a network"
    if [ ! -x "$venv/bin/python" ]; then
        python3 -m venv "$venv"
        # Not --system-site-packages: where python3 is itself in an environment, that leaves out its torch.
        python3 -c 'import site; print(*site.getsitepackages(), sep="\n")' \
            > "$("$venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')/machine.pth"
    fi
    "$venv/bin/python" -c 'import torch' || die "install: python3 there has no torch"
    # Without dependencies: they may come with the next load, and torch is the machine's own.
    "$venv/bin/python" -m pip install -q --no-index --no-deps --no-compile .wheels/*/*.whl
    "$venv/bin/python" -m pip install -q --no-index --no-deps --no-compile --no-build-isolation -e .
}

run() {
    local spec=${1:-sweeps/h200-optimization.yaml} minutes=${2:-9} out=${OUT:-out} status=0
    [ $# -le 2 ] || die "run takes a sweep file and minutes, got $# arguments"
    [[ $minutes =~ ^[1-9][0-9]{0,4}$ ]] || die "run: '$minutes' is not a whole number of minutes such as 9"
    [ -f "$spec" ] || spec=$(from_caller "$spec")
    [ -f "$spec" ] || die "run: there is no sweep file ${1:-$spec}"
    local deadline=$((SECONDS + minutes * 60))
    [ -x "$venv/bin/vlmnb" ] || install
    export HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
    local before after
    after=$(measured)
    while :; do
        before=$after status=0
        timeout --signal=INT --kill-after=20 $((deadline - SECONDS)) "$venv/bin/vlmnb" sweep "$spec" || status=$?
        # A mistake, which the sweep has reported: nothing was measured.
        [ "$status" != 2 ] || exit 2
        # A CUDA error costs a notebook its remaining cells: go on as long as each sweep adds records.
        after=$(measured)
        [ "$status" = 1 ] && [ "$after" != "$before" ] && [ $((deadline - SECONDS)) -gt 30 ] || break
    done
    "$venv/bin/vlmnb" status "$spec" || true
    mkdir -p "$out"
    measured > "$out/records.txt"
    echo "measured and not in git: $(wc -l < "$out/records.txt") records"
    if [ -s "$out/records.txt" ]; then tar czf "$out/records.tar.gz" -C results -T "$out/records.txt"; fi
    rm "$out/records.txt"
    ls -l "$out"
    # Reaching the limit is not a failure: the next run continues.
    [ "$status" = 124 ] || [ "$status" = 130 ] || [ "$status" -le 1 ]
}

# List the records of results/ to bring back: those that are not in git. Without git: all but the reports'.
measured() {
    {
        if git -C results rev-parse --is-inside-work-tree > /dev/null 2>&1; then
            (cd results && git ls-files --others --modified -- .)
        else
            (cd results && find . -type f -printf '%P\n')
        fi
    } | grep -E "$record" | grep -v '^reports/' | sort -u || true
}

record='^(\./)?[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*/(turns/)?[0-9a-f]+\.json$'

from_caller() {
    case "$1" in
        /*) echo "$1" ;;
        *) echo "$caller/$1" ;;
    esac
}

unpack() {
    [ $# = 1 ] || die "unpack takes one file, the records.tar.gz of a run, got $# arguments"
    local file names
    file=$(from_caller "$1")
    [ -f "$file" ] || die "unpack: there is no file $1"
    names=$(tar tzf "$file" 2> /dev/null | grep -v '/$') || die "unpack: $1 is not an archive with files in it"
    ! grep -qEv "$record" <<< "$names" || die "unpack: $1 has files other than records: $(grep -Ev -m1 "$record" <<< "$names")"
    tar xzf "$file" -C results
    echo "unpacked into results/: $(wc -l <<< "$names") records"
}

case "${1:-}" in
    wheels) fetch "${@:2}" ;;
    install) install "${@:2}" ;;
    run) run "${@:2}" ;;
    unpack) unpack "${@:2}" ;;
    *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
