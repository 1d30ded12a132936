#!/usr/bin/env bash
# jiwer 4.0.0: a line break or a tab is part of a word.
#
# Guess: words are what white space separates, so "a\nb" equals "a b".
# Seen: words are split at the blank character only. One line break or tab glues its neighbours into one word
# (WER 2.0 against "a b"), while two line breaks become a blank (WER 0.0). Answers of several lines are scored
# against references of other words than a reader sees.
# Output: tab 2.0, line break 2.0, two line breaks 0.0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check jiwer==4.0.0
cd "$work"
"$work/env/bin/python" - <<'PY'
import jiwer

seen = {name: jiwer.wer(text, "a b") for name, text in (("tab", "a\tb"), ("break", "a\nb"), ("two breaks", "a\n\nb"))}
print(seen)
assert seen == {"tab": 2.0, "break": 2.0, "two breaks": 0.0}, seen
PY
