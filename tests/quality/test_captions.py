"""CIDEr, BLEU and normalized word errors against implementations written here from their papers."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from factory import answers, cell, record
from hypothesis import given
from hypothesis import strategies as st

from vlmnb.data import catalogue
from vlmnb.quality import captions, metrics, scores
from vlmnb.records import export_columns

VOCABULARY = ["a", "red", "blue", "square", "circle", "left", "of", "the", "two"]
WORDS = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=9)
CAPTION = WORDS.map(" ".join)
SAMPLE = st.tuples(st.one_of(CAPTION, st.just("")), st.lists(CAPTION, min_size=1, max_size=4))


def once(found: captions.CaptionScores) -> np.ndarray:
    """Count every sample once."""
    return np.ones((1, len(found.words)))


def ngrams(words: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def cider_d(samples: list[tuple[str, list[str]]]) -> list[float]:
    """CIDEr-D of arXiv:1411.5726, equations 1, 2, 4 and 6, over words that blanks separate."""
    each = []
    split = [(caption.split(), [one.split() for one in several]) for caption, several in samples]
    for caption, several in split:
        total = 0.0
        for n in (1, 2, 3, 4):

            def weighted(words: list[str], n: int = n) -> dict[tuple[str, ...], float]:
                found = {}
                for gram, count in ngrams(words, n).items():
                    documents = sum(any(gram in ngrams(one, n) for one in refs) for _, refs in split)
                    found[gram] = count * math.log(len(split) / max(documents, 1))
                return found

            own = weighted(caption)
            for one in several:
                theirs = weighted(one)
                shared = sum(min(own[gram], theirs[gram]) * theirs[gram] for gram in own if gram in theirs)
                length = math.hypot(*own.values(), 0.0) * math.hypot(*theirs.values(), 0.0)
                # The reference implementation counts the bigrams for the length of a caption.
                apart = max(len(caption) - 1, 0) - max(len(one) - 1, 0)
                penalty = math.exp(-(apart**2) / (2 * 6.0**2))
                total += penalty * shared / length / len(several) if length else 0.0
        each.append(10 * total / 4)
    return each


def bleu_4(samples: list[tuple[str, list[str]]]) -> float:
    """BLEU of the corpus (Papineni et al., 2002), four n, uniform weights, closest reference length."""
    hits, counts, length, closest = [0] * 4, [0] * 4, 0, 0
    for caption, several in samples:
        words = caption.split()
        length += len(words)
        closest += min((abs(len(one.split()) - len(words)), len(one.split())) for one in several)[1]
        for n in (1, 2, 3, 4):
            own = ngrams(words, n)
            most: Counter[tuple[str, ...]] = Counter()
            for one in several:
                most |= ngrams(one.split(), n)
            hits[n - 1] += sum((own & most).values())
            counts[n - 1] += sum(own.values())
    if 0 in hits:
        return 0.0
    precision = math.prod(h / c for h, c in zip(hits, counts, strict=True)) ** 0.25
    return precision * (1.0 if length >= closest else math.exp(1 - closest / length))


def distance(a: list[str], b: list[str]) -> int:
    """Levenshtein's distance of words, by its recursion."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        row, above = [i], row
        for j, right in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (left != right)))
    return row[-1]


@given(st.lists(SAMPLE, min_size=2, max_size=6))
def test_cider_and_bleu_are_those_of_the_papers(samples: list[tuple[str, list[str]]]) -> None:
    texts, references = tuple(c for c, _ in samples), tuple(tuple(r) for _, r in samples)
    found = captions.score(texts, references)
    assert found.cider == pytest.approx(cider_d(samples), abs=1e-9)
    assert captions.mean_cider(found, once(found))[0] == pytest.approx(
        sum(cider_d(samples)) / len(samples), abs=1e-9
    )
    assert captions.bleu(found, once(found))[0] == pytest.approx(bleu_4(samples), abs=1e-9)


def test_the_scores_of_bundled_captions_are_those_of_the_coco_evaluation() -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider

    samples, _ = catalogue.load(catalogue.get("coco-mini"), 20, 0)
    references = tuple(sample.references for sample in samples)
    texts = (*(several[1] for several in references[1:]), "A red square.")
    found = captions.score(texts, references)
    wanted = {i: [" ".join(captions.tokens(r)) for r in several] for i, several in enumerate(references)}
    given_answers = {i: [" ".join(captions.tokens(text))] for i, text in enumerate(texts)}
    assert captions.mean_cider(found, once(found))[0] == pytest.approx(
        Cider().compute_score(wanted, given_answers)[0]
    )
    four = Bleu(4).compute_score(wanted, given_answers, verbose=0)[0][3]
    assert captions.bleu(found, once(found))[0] == pytest.approx(four, abs=1e-6)


def test_the_caption_that_all_expect_has_bleu_1() -> None:
    said = ("a red square left of a circle", "two blue triangles on a white ground")
    found = captions.score(said, tuple((text,) for text in said))
    assert captions.bleu(found, once(found))[0] == pytest.approx(1)
    assert captions.mean_cider(found, once(found))[0] == pytest.approx(10)


def test_resampling_scores_is_scoring_the_resample() -> None:
    samples = [("a red square of", ["a red square of wood"]), ("the blue circle", ["blue circle left of"]),
               ("two red two red two", ["two red circles", "two red two red"])]  # fmt: skip
    found = captions.score(tuple(c for c, _ in samples), tuple(tuple(r) for _, r in samples))
    drawn = np.array([[2.0, 0.0, 1.0]])
    assert captions.bleu(found, drawn)[0] == pytest.approx(bleu_4([samples[0], samples[0], samples[2]]))
    assert captions.mean_cider(found, drawn)[0] == pytest.approx((2 * found.cider[0] + found.cider[2]) / 3)


def test_captions_are_split_as_the_treebank_tokenizer_does() -> None:
    """The words are what PTBTokenizer of pycocoevalcap 1.2 returned."""
    lines = Path(__file__).with_name("treebank.tsv").read_text(encoding="utf-8").splitlines()[1:]
    wanted = dict(line.split("\t") for line in lines)
    assert {text: " ".join(captions.tokens(text)) for text in ["", *wanted]} == {"": ""} | wanted


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="the official tokenizer is a Java program")
def test_every_bundled_caption_is_split_as_the_official_tokenizer_does() -> None:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    said = [
        text for sample in catalogue.load(catalogue.get("coco-mini"), 300, 0)[0] for text in sample.references
    ]
    said += [text.replace(", ", ",") for text in said if "," in text]
    official = PTBTokenizer().tokenize({i: [{"caption": text}] for i, text in enumerate(said)})
    assert [captions.tokens(text) for text in said] == [official[i][0].split() for i in range(len(said))]


@pytest.mark.parametrize("references", [(), (("a",),), ((), ("a",)), (("?",), ("a",))])
def test_captions_without_references_are_refused(references: tuple[tuple[str, ...], ...]) -> None:
    with pytest.raises(ValueError, match="reference"):
        captions.score(("a", "b"), references)


@given(st.lists(st.tuples(CAPTION, st.one_of(CAPTION, st.just(""))), min_size=1, max_size=6))
def test_word_errors_are_edit_distances(pairs: list[tuple[str, str]]) -> None:
    errors = [distance(a.split(), b.split()) for a, b in pairs]
    words = [len(a.split()) for a, _ in pairs]
    assert [metrics.word_errors(a, b) for a, b in pairs] == list(zip(errors, words, strict=True))
    score = scores.corpus_wer(tuple(pairs))
    assert score is not None
    assert score.value == pytest.approx(sum(errors) / sum(words))
    assert score.low <= score.value <= score.high or len(pairs) == 1


def test_normalized_errors_ignore_only_case_and_punctuation() -> None:
    found = scores.of("textvqa", ["STOP!", "the  sign says: go", ""], [["stop"], ["Go"], ["left"]])
    assert set(found) == {"wer_normalized"}
    assert found["wer_normalized"].value == pytest.approx((0 + 3 + 1) / 3)
    assert scores.normalized("It's a black-and-white  CAT.") == "its a black and white cat"


def test_a_reference_of_punctuation_makes_every_word_an_error() -> None:
    assert scores.of("textvqa", ["a b", "c"], [["?"], ["c"]])["wer_normalized"].value == 2
    assert scores.of("textvqa", ["a b"], [["?"]]) == {}
    assert scores.of("textvqa", ["a b"], [[]]) == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3.5", "35"),
        ("1.99", "199"),
        ("5:30", "530"),
        ("2,5", "25"),
        ("-5", "5"),
        (".5", "5"),
        ("5%", "5"),
        ("-.5", ".5"),
    ],
)
def test_normalized_errors_keep_numbers_apart(one: str, other: str) -> None:
    assert scores.of("textvqa", [f"{one}."], [[other]])["wer_normalized"].value == 1
    assert scores.of("textvqa", [f"({one})"], [[one]])["wer_normalized"].value == 0
    assert scores.normalized("1,000 or 1,000,000") == "1000 or 1000000"
    assert scores.normalized("\u22125 % of F-16s - 5-6") == "-5% of f 16s 5 6"
    assert scores.normalized("\ufeffsto\u200bp") == "stop"


def test_samples_without_words_in_references_are_left_out_of_caption_scores() -> None:
    said = ["a red square", "a blue circle", "a cat", "!!!"]
    whole = scores.of("coco", said[:2], [[text] for text in said[:2]])
    more = scores.of("coco", said, [["a red square"], ["a blue circle"], ["..."], []])
    assert {name: more[name] for name in ("cider", "bleu")} == {n: whole[n] for n in ("cider", "bleu")}
    punctuation = scores.of("coco", ["...", "a cat"], [["a dog"], ["a cat"]])
    assert punctuation["cider"].value < whole["cider"].value
    assert "cider" not in scores.of("coco", ["a", "b"], [["."], ["b"]])


def test_official_accuracy_is_of_scienceqa_alone() -> None:
    said, references, choices = ["B", "B)", "A. x", "C"], [["B"], ["B"], ["A"], ["C"]], [["x", "y"]] * 4
    found = scores.of("scienceqa-mini", said, references, choices)["accuracy_official"]
    assert found.value == 2 / 4
    assert "accuracy_official" not in scores.of("textvqa", said, references, choices)


def test_captions_have_scores_with_intervals_in_the_export() -> None:
    said = ["a red square", "a blue circle left of a red square", "two green triangles", "a cat"]
    given_answers = tuple(
        answer.model_copy(update={"answer": text, "references": (said[i], said[i - 1]), "score": None})
        for i, (answer, text) in enumerate(
            zip(answers(4, 0), ["a red square", *said[1:3], "dog"], strict=True)
        )
    )
    row = export_columns.row(record(cell(dataset="coco-mini"), answers=given_answers))
    for name in ("cider", "bleu", "wer_normalized"):
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"], name
    other = export_columns.row(record(cell(dataset="textvqa-mini"), answers=given_answers))
    assert other["cider"] is None
    assert other["wer_normalized"] == row["wer_normalized"]
    random = export_columns.row(record(cell(dataset="coco-mini", weights="random"), answers=given_answers))
    assert random["cider"] is random["bleu"] is random["wer_normalized"] is None


def test_a_single_caption_has_no_cider() -> None:
    assert "cider" not in scores.of("coco", ["a cat"], [["a cat"]])
