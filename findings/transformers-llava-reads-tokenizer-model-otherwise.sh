#!/usr/bin/env bash
# transformers 5.23.0: a tokenizer.model beside a LLaVA's config is read into other tokens than by LlamaTokenizer.
#
# Guess: AutoTokenizer converts it as the class that tokenizer_config.json names, LlamaTokenizer, does.
# Seen: for model type llava that class is passed over for the general one, which puts no blank before the first
# word and turns line ends into blanks, without a warning. A tokenizer.json that LlamaTokenizer saved is read right.
# Output: llama ['▁a', '▁dog', '<0x0A>', 's', 'at'], auto ['a', '▁dog', '▁sat']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy torch==2.13.0 transformers==5.23.0 sentencepiece==0.2.3 protobuf==7.36.2
cd "$work"
"$work/env/bin/python" - <<'PY'
import json
from pathlib import Path

import sentencepiece
from transformers import AutoTokenizer, LlamaTokenizer, LlavaConfig

Path("corpus.txt").write_text("a dog\na dog sat\na red dog sat down\n" * 50)
Path("checkpoint").mkdir()
sentencepiece.SentencePieceTrainer.train(
    input="corpus.txt", model_prefix="checkpoint/tokenizer", vocab_size=285, model_type="bpe", byte_fallback=True,
    minloglevel=2,
)
LlavaConfig().save_pretrained("checkpoint")
Path("checkpoint/tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
text = "a dog\nsat"
llama, auto = (kind.from_pretrained("checkpoint").tokenize(text) for kind in (LlamaTokenizer, AutoTokenizer))
print("llama", llama, "auto", auto)
assert llama != auto and llama[0].startswith("▁") and not auto[0].startswith("▁")
LlamaTokenizer.from_pretrained("checkpoint").save_pretrained("checkpoint")
Path("checkpoint/tokenizer.model").unlink()
assert AutoTokenizer.from_pretrained("checkpoint").tokenize(text) == llama
PY
