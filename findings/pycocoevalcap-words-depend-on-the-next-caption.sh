#!/usr/bin/env bash
# pycocoevalcap 1.2 (Stanford's PTBTokenizer, needs Java): the words of a caption depend on the caption after it.
#
# Guess: captions are tokenized one by one, so the words of one are always the same.
# Seen: all go through one file, and whether a capital begins the next line decides whether "A." at the end of a line
# keeps its point. CIDEr and BLEU of such captions change with the order of the samples.
# Output: before "A dog" the letter a, before "the dog" the letter a.
set -euo pipefail
command -v java >/dev/null || { echo "the tokenizer needs Java"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check pycocoevalcap==1.2
cd "$work"
"$work/env/bin/python" - 2>/dev/null <<'PY'
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

said = {}
for after in ("A dog", "the dog"):
    captions = {0: [{"caption": "the letter A."}], 1: [{"caption": after}]}
    said[after] = PTBTokenizer().tokenize(captions)[0][0]
print(", ".join(f'before "{after}" {words}' for after, words in said.items()))
assert said == {"A dog": "the letter a", "the dog": "the letter a."}, said
PY
