"""2,000 texts that tokenizers get wrong, from a seed. inference/tests/it/text_lines.rs makes the same ones.

A text is a few pieces, each one of: a fragment of fragments.json, characters of random scripts, blanks, digits, random
bytes decoded with U+FFFD for what is no UTF-8. The generator is SplitMix64; `below(n)` is its next number modulo n.
"""

import json
from pathlib import Path

GOLDEN = Path(__file__).resolve().parents[2] / "inference/tests/golden/text"
NUM_LINES = 2000
SEED = 20240726
BLANKS = [" ", " ", " ", "\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2028", "\r", "\u0085", "\u200b"]
# First and last character of each block from which single characters are drawn.
SCRIPTS = [
    (0x20, 0x7E), (0xA0, 0x17F), (0x250, 0x2AF), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x531, 0x58F), (0x590, 0x5F4),
    (0x600, 0x6FF), (0x900, 0x97F), (0x980, 0x9FF), (0xE01, 0xE5B), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1D00, 0x1D7F), (0x1E00, 0x1FFF),
    (0x2000, 0x206F), (0x2070, 0x209F), (0x20A0, 0x20CF), (0x2100, 0x218F), (0x2190, 0x22FF), (0x2460, 0x24FF), (0x2500, 0x27BF), (0x2C00, 0x2DFF),
    (0x3000, 0x30FF), (0x3100, 0x318F), (0x4E00, 0x9FFF), (0xA640, 0xA7FF), (0xAC00, 0xD7A3), (0xE000, 0xE0FF), (0xFB00, 0xFDFF), (0xFE00, 0xFFFF),
    (0x10400, 0x1044F), (0x1D400, 0x1D7FF), (0x1F300, 0x1F6FF), (0x1F900, 0x1F9FF), (0x20000, 0x2003F), (0xE0020, 0xE007F), (0x0, 0x1F),
]
MASK = 2**64 - 1


class Random:
    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, n):
        return self.next() % n


def fragments():
    return json.loads((GOLDEN / "fragments.json").read_text())


def piece(random, table):
    kind = random.below(12)
    if kind < 6:
        return table[random.below(len(table))]
    if kind < 8:
        first, last = SCRIPTS[random.below(len(SCRIPTS))]
        return "".join(chr(first + random.below(last - first + 1)) for _ in range(1 + random.below(4)))
    if kind < 10:
        blank = BLANKS[random.below(len(BLANKS))]
        return blank * (1 + random.below(5))
    if kind < 11:
        return "".join(str(random.below(10)) for _ in range(1 + random.below(8)))
    return bytes(random.below(256) for _ in range(1 + random.below(10))).decode(errors="replace")


def lines():
    random, table = Random(SEED), fragments()
    return ["".join(piece(random, table) for _ in range(1 + random.below(9))) for _ in range(NUM_LINES)]
