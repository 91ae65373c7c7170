#!/usr/bin/env python3
"""Makes one small fixture of each kind of tokenizer file, with the ids, texts and offsets of the program it belongs to.

    python3 make_kinds.py                          the committed fixtures (tokenizers 0.23.3, sentencepiece 0.2.3, tiktoken 0.14.0)
    python3 make_kinds.py --out /tmp/x --cases 20000 --seed 7   a larger set to try by hand

NAME.json, NAME.model or NAME.tiktoken is a tokenizer trained on corpus.txt; NAME.cases.jsonl has for each text its "ids" (what
the file puts around the text included), the "decoded" text without special tokens, for tokenizer.json "special" (the texts of special tokens become them) and the "offsets" of the
ids in characters, where the program maps every character to its own place.
"""
import argparse, base64, io, json, os, random, tempfile

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import sentencepiece, tiktoken
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import make

HERE = make.HERE
RULES = [("\ufb01", "fi"), ("\u2460", "1"), ("\u3000", " "), ("\t", " "), ("\u212b", "\xc5"), ("\u200b", ""), ("\u3231", "(주)"), ("\uff76\uff9e", "\u30ac")]
MORE = ["\ufb01\u2460\u3000\u3231\uff76\uff9e\u200b\u212b", "  two  spaces ", "▁a▁ b", "<unk> <s> </s>", "<sep>x<sep> y", "한국 한국어 foo", "\ufffd", "q" * 300, "가" * 90 + " 나"]


def fields(message):
    """(number, value, bytes of the field) of a protobuf message."""
    def varint(at):
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value, at
    at = 0
    while at < len(message):
        start = at
        tag, at = varint(at)
        if tag & 7 == 0:
            value, at = varint(at)
        else:
            size, at = varint(at) if tag & 7 == 2 else (4 if tag & 7 == 5 else 8, at)
            value = message[at : at + size]
            at += size
        yield tag >> 3, value, message[start:at]


def sentencepiece_model(kind, **options):
    out = io.BytesIO()
    file = tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8")
    for old, new in RULES:
        file.write(" ".join(f"{ord(c):X}" for c in old) + "\t" + " ".join(f"{ord(c):X}" for c in new) + "\n")
    file.flush()
    sentencepiece.SentencePieceTrainer.train(input=make.CORPUS, model_writer=out, model_type=kind, minloglevel=2, num_threads=1, hard_vocab_limit=False,
                                             normalization_rule_tsv=file.name, **options)
    file.close()
    # Trainer notes hold paths of the machine: only what readers use is kept.
    kept = b""
    for number, value, whole in fields(out.getvalue()):
        if number == 2:
            value = b"".join(part for n, _, part in fields(value) if n in (3, 24, 35, 40, 41, 42, 43, 44, 45, 46, 47))
            whole = b"\x12" + varint(len(value)) + value
        if number == 3:
            value = b"".join(part for n, _, part in fields(value) if n != 6)
            whole = b"\x1a" + varint(len(value)) + value
        kept += whole
    return kept


def varint(value):
    out = b""
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def charsmap(model):
    for number, value, _ in fields(model):
        if number == 3:
            for inner, map_bytes, _ in fields(value):
                if inner == 2:
                    return base64.b64encode(map_bytes).decode()


def byte_fallback_bpe(normalizer, pre_tokenizer, decoder, **changes):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train([make.CORPUS], trainers.BpeTrainer(vocab_size=700, special_tokens=specials, show_progress=False, limit_alphabet=120))
    root = json.loads(tokenizer.to_str())
    root["added_tokens"] = root["added_tokens"][:3]
    root.update(normalizer=normalizer, pre_tokenizer=pre_tokenizer, decoder=decoder)
    root["model"].update(changes)
    return root


def unigram(model, normalizer, pre_tokenizer, decoder, byte_fallback=False):
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    rows = [[processor.id_to_piece(i), processor.get_score(i)] for i in range(processor.get_piece_size())]
    special = [{"id": i, "content": rows[i][0], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} for i in range(3)]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "post_processor": None, "decoder": decoder, "model": {"type": "Unigram", "unk_id": 0, "vocab": rows, "byte_fallback": byte_fallback}}


def part(kind, **rest):
    return {"type": kind, **rest}


LEVEL = part("ByteLevel", add_prefix_space=False, trim_offsets=False, use_regex=True)
DEEPSEEK = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"""
            r""" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""")


def split(expression):
    return part("Split", pattern={"Regex": expression}, behavior="Isolated", invert=False)


def byte_level(parts):
    root = json.loads(make.trained(500).to_str())
    root["pre_tokenizer"] = part("Sequence", pretokenizers=parts)
    root["post_processor"] = None
    return root


def json_kinds():
    mark = part("Replace", pattern={"String": " "}, content="▁")
    spaces = part("Replace", pattern={"String": "▁"}, content=" ")
    strip = part("Strip", content=" ", start=1, stop=0)
    meta = part("Metaspace", replacement="▁", prepend_scheme="always", split=True)
    fused = [spaces, part("ByteFallback"), part("Fuse")]
    model = sentencepiece_model("unigram", vocab_size=420, character_coverage=0.98)
    map_part = part("Precompiled", precompiled_charsmap=charsmap(model))
    yield "llama2", byte_fallback_bpe(part("Sequence", normalizers=[part("Prepend", prepend="▁"), mark]), None, part("Sequence", decoders=fused + [strip]))
    yield "gemma", byte_fallback_bpe(mark, part("Split", pattern={"String": " "}, behavior="MergedWithPrevious", invert=False), part("Sequence", decoders=fused))
    yield "first", byte_fallback_bpe(None, dict(meta, prepend_scheme="first", split=False), part("Sequence", decoders=fused + [strip]), byte_fallback=False)
    yield "falcon", byte_level([part("Punctuation", behavior="Contiguous"), LEVEL, part("Digits", individual_digits=False), split("[0-9][0-9][0-9]")])
    yield "bloom", byte_level([split(" ?[^(\\s|[.,!?…。，、।۔،])]+"), dict(LEVEL, use_regex=False)])
    yield "deepseek", byte_level([split(r"\p{N}{1,3}"), split("[一-龥\u3040-ゟ゠-ヿ]+"), split(DEEPSEEK), dict(LEVEL, use_regex=False)])
    yield "t5", unigram(model, map_part, meta, meta)
    yield "xlmr", unigram(model, part("Sequence", normalizers=[map_part, part("Replace", pattern={"Regex": " {2,}"}, content=" ")]),
                          part("Sequence", pretokenizers=[part("WhitespaceSplit"), meta]), meta)
    yield "albert", unigram(model, part("Sequence", normalizers=[part("NFKD"), part("StripAccents"), part("Lowercase"), part("Nmt"), part("Strip", strip_left=True, strip_right=True)]),
                            part("Sequence", pretokenizers=[part("Punctuation", behavior="Contiguous"), part("Digits", individual_digits=False), meta]), meta)


def model_kinds():
    yield "sp_bpe", sentencepiece_model("bpe", vocab_size=600, byte_fallback=True, character_coverage=0.98, remove_extra_whitespaces=False)
    yield "sp_unigram", sentencepiece_model("unigram", vocab_size=420, character_coverage=0.98, user_defined_symbols=["<sep>", "한국", "▁foo"])
    yield "sp_suffix", sentencepiece_model("bpe", vocab_size=400, treat_whitespace_as_suffix=True, user_defined_symbols=["<sep>"])
    yield "sp_cross", sentencepiece_model("unigram", vocab_size=620, split_by_whitespace=False, add_dummy_prefix=False, byte_fallback=True)


SYMBOLS = ["ab", "aba", "b", "<sep>", "<se", "한국", "국어", "▁▁"]


def among_symbols(texts, seed):
    """Texts with user-defined symbols that begin and end in each other, in which many ways to cut have equal sums."""
    draw = random.Random(seed)
    for text in texts:
        for _ in range(draw.randint(1, 4)):
            place = draw.randint(0, len(text))
            text = text[:place] + "".join(draw.choices(SYMBOLS + ["a", "  ", "어", "p>"], k=draw.randint(1, 5))) + text[place:]
        yield text


def ranks():
    """GPT-2's small vocabulary as ranks: the bytes, then the merges."""
    root = json.loads(make.trained(900).to_str())
    characters = {chr(c): b for b, c in zip([*range(33, 127), *range(161, 173), *range(174, 256)], [*range(33, 127), *range(161, 173), *range(174, 256)])}
    for number, byte in enumerate(b for b in range(256) if chr(b) not in characters):
        characters[chr(256 + number)] = byte
    names = sorted((i, t) for t, i in root["model"]["vocab"].items() if t != "<|endoftext|>")
    return {bytes(characters[c] for c in text): rank for rank, (_, text) in enumerate(names)}


def cases(texts, encode):
    for text in texts:
        yield {"text": text, **encode(text)}


def from_json(tokenizer):
    def encode(text):
        found = tokenizer.encode(text)
        plain = not any(ord(c) > 0x2FF or c in "\xe9\xc5\xbd\xb2" for c in text)  # composed and replaced characters: the library maps only the first
        return {"special": True, "ids": found.ids, "decoded": tokenizer.decode(found.ids), **({"offsets": [list(o) for o in found.offsets]} if plain else {})}
    return encode


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default=HERE)
    parser.add_argument("--cases", type=int, default=130)
    parser.add_argument("--seed", type=int, default=50)
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    number = 0

    def write(name, encode, change=lambda texts, seed: texts):
        nonlocal number
        number += 1
        texts = change(MORE + make.texts(options.cases, options.seed + number), options.seed + number)
        make.write(os.path.join(options.out, name + ".cases.jsonl"), cases(texts, encode))

    def write_model(name, model, *change):
        with open(os.path.join(options.out, name + ".model"), "wb") as file:
            file.write(model)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        write(name, lambda text: {"ids": processor.encode(text), "decoded": processor.decode(processor.encode(text))}, *change)

    for name, root in json_kinds():
        text = json.dumps(root, ensure_ascii=False, separators=(",", ":"))
        with open(os.path.join(options.out, name + ".json"), "w", encoding="utf-8") as file:
            file.write(text + "\n")
        write(name, from_json(Tokenizer.from_str(text)))
    for name, model in model_kinds():
        write_model(name, model)
    table = ranks()
    with open(os.path.join(options.out, "o200k_base.tiktoken"), "w", encoding="utf-8") as file:
        for token, rank in sorted(table.items(), key=lambda item: item[1]):
            file.write(base64.b64encode(token).decode() + f" {rank}\n")
    import inspect, tiktoken_ext.openai_public as public
    public.load_tiktoken_bpe = lambda *_, **__: table
    o200k = tiktoken.Encoding(name="o200k", pat_str=public.o200k_base()["pat_str"], mergeable_ranks=table, special_tokens={})
    write("o200k_base", lambda text: {"ids": o200k.encode_ordinary(text), "decoded": text})
    write_model("sp_symbols", sentencepiece_model("unigram", vocab_size=420, character_coverage=0.98, user_defined_symbols=SYMBOLS), among_symbols)


if __name__ == "__main__":
    main()
