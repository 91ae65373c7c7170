#!/usr/bin/env python3
"""Makes the fixtures in this folder with the Python library `tokenizers` (0.23.3 made the committed ones).

    python3 make.py                          the committed fixtures, into this folder
    python3 make.py --out /tmp/x --cases 20000 --seed 7   a larger set to try by hand

NAME.json is a tokenizer; NAME.cases.jsonl has a text and its ids (special tokens parsed, the template's ids included) a
line; "plain" are the ids where the text of special tokens is plain text. pretokens.jsonl has the pieces that the
ByteLevel pre-tokenizer cuts a text into.
"""
import argparse, json, os, random, unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
CORPUS = os.path.join(HERE, "corpus.txt")

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

TEXTS = [
    "", " ", "  ", "\n", "\n\n\n", " \n \n", "a", "Hello, world!", "It's we'll I'd THEY'RE 'S 'ſ", "안녕하세요, 세계!",
    "한국어와 English를 섞어 쓴 문장입니다.", "각", "e\u0301 é Å Å", "😀👩‍👩‍👧🇰🇷❤️", "x = [i**2 for i in range(10)]\n\n\treturn x",
    "a b c", "tab\there", "nbsp\u00a0here", "line\u2028sep\u3000wide", "\u180e mongolian \u200b zero width", "123456789 1,234.5 ½²٣Ⅳ",
    "trailing spaces   ", "   leading", "a   b    c\n   d", "\x00\x01\x7f\x80\xff", "<|endoftext|>", "a<|endoftext|>b", "<|endoftext", "a <|endoftext|> b",
    "<tool>word</tool>", " <tool> x", "words word", "word", "sword word's word-word", " <l>  <r>  x <l><r>", "<l>", "  <l>", "<r>  ", "b\u00e9\u0301\u0301",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ababababababababababababababababababababababababababababababababababababababababababababababababababababababab" * 3,
    "뛰어넘습니다" * 40, "\r\n\r\n  \r\n x\r\n", "don't DON'T Don\u2019t",
]
ALPHABETS = [
    "abcdefghij'stmdrvl ETSRL", "0123456789.,½²٣Ⅳ①", "가나다각힣습니다 ", "\u1100\u1161\u11a8\u1112\u1175", " \t\n\r\x0b\x0c\x85\u00a0\u2003\u2028\u3000\u180e\u200b",
    "äöüßéñçÅ\u0301\u0308\u0327ſK", "東京北京日本語の", "😀👍🏽👩\u200d👧🇰🇷❤️", "!@#$%^&*()[]{}<>|/\\\"'`~+-=_", "\x00\x01\x1f\x7f\x80\x9f\xad\xff", "हिन्दीภาษาไทยعربيעברית",
]
WORDS = ["<|endoftext|>", "<|begin|>", "<tool>", "</tool>", "word", "<l>", "<r>", "the", " of", "토큰", "학습", "tokenizer", "  ", "\n\n", "'s", "'ll"]


def texts(count, seed):
    rng = random.Random(seed)
    out = list(TEXTS)
    with open(CORPUS, encoding="utf-8") as file:
        corpus = file.read()
    out += corpus.splitlines()
    while len(out) < count:
        text = ""
        for _ in range(rng.randint(1, 12)):
            kind = rng.random()
            if kind < 0.25:
                text += rng.choice(WORDS)
            elif kind < 0.35:
                start = rng.randrange(len(corpus))
                text += corpus[start : start + rng.randint(1, 30)]
            else:
                alphabet = rng.choice(ALPHABETS)
                text += "".join(rng.choice(alphabet) for _ in range(rng.randint(1, 9)))
        out.append(text)
    return out


def trained(size, minimum=0, specials=("<|endoftext|>",)):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=minimum, special_tokens=list(specials), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train([CORPUS], trainer)
    return tokenizer


def llama3():
    base = json.loads(trained(500).to_str())
    base["model"]["ignore_merges"] = True
    # A word that the merges would spell otherwise.
    base["model"]["vocab"]["Ġqzx"] = len(base["model"]["vocab"])
    tokenizer = Tokenizer.from_str(json.dumps(base))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.add_special_tokens(["<|begin|>"])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin|> $A", pair="<|begin|> $A <|begin|> $B", special_tokens=[("<|begin|>", tokenizer.token_to_id("<|begin|>"))])])
    return tokenizer


def qwen2():
    tokenizer = trained(450)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.add_tokens([AddedToken("<tool>", special=False, normalized=False), AddedToken("</tool>", special=False, normalized=False)])
    return tokenizer


def digits():
    tokenizer = trained(420, minimum=3)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return tokenizer


def prefix_space():
    tokenizer = trained(400)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.add_tokens([AddedToken("word", single_word=True, normalized=True), AddedToken("<l>", lstrip=True, normalized=False),
                          AddedToken("<r>", rstrip=True, normalized=False), AddedToken("<tool>", normalized=True)])
    return tokenizer


def write(path, lines):
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=True, separators=(",", ":")) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default=HERE)
    parser.add_argument("--cases", type=int, default=160)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    for number, (name, make) in enumerate([("gpt2", lambda: trained(600)), ("llama3", llama3), ("qwen2", qwen2), ("digits", digits),
                                           ("prefix_space", prefix_space)]):
        tokenizer = make()
        tokenizer.save(os.path.join(options.out, name + ".json"))
        cases = []
        for text in texts(options.cases, options.seed + number):
            case = {"text": text, "ids": tokenizer.encode(text).ids}
            tokenizer.encode_special_tokens = True
            plain = tokenizer.encode(text, add_special_tokens=False).ids
            tokenizer.encode_special_tokens = False
            cases.append({**case, "plain": plain})
        write(os.path.join(options.out, name + ".cases.jsonl"), cases)
    for size, minimum in ((256, 0), (300, 0), (900, 0), (5000, 2)):
        trained(size, minimum).save(os.path.join(options.out, f"trained_{size}_{minimum}.json"), pretty=False)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    write(os.path.join(options.out, "pretokens.jsonl"),
          [{"text": t, "pieces": [t[a:b] for _, (a, b) in byte_level.pre_tokenize_str(t)]} for t in texts(options.cases, options.seed + 100)])


if __name__ == "__main__":
    main()
