#!/usr/bin/env bash
# transformers 5.23.0: IdeficsProcessor puts a picture behind the question if it is given in a list for each text.
#
# Guess: images=[picture] and images=[[picture]] make the same prompt, as with other processors.
# Seen: the first puts the picture before the text, the second behind it, without a warning.
# Output: Image <s> <fake_token_around_image> <image> <fake_token_around_image> what
#         list <s> what <fake_token_around_image> <image> <fake_token_around_image>
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check numpy pillow==13.0.0 torch==2.13.0 transformers==5.23.0
cd "$work"
"$work/env/bin/python" - <<'PY'
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import IdeficsImageProcessorPil, IdeficsProcessor, PreTrainedTokenizerFast

words = ["<unk>", "<pad>", "<s>", "</s>", "<image>", "<fake_token_around_image>", "what"]
made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
made.pre_tokenizer = pre_tokenizers.Whitespace()
made.add_special_tokens(words[:6])
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=made, unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>"
)
processor = IdeficsProcessor(IdeficsImageProcessorPil(image_size=16), tokenizer)
picture, found = Image.new("RGB", (16, 16)), []
for images in ([picture], [[picture]]):
    ids = processor(images=images, text=["what"])["input_ids"][0]
    found.append(tokenizer.convert_ids_to_tokens([int(one) for one in ids]))
    print(type(images[0]).__name__, *found[-1])
assert found[0].index("<image>") < found[0].index("what")
assert found[1].index("<image>") > found[1].index("what")
PY
