"""What the goldens of synthetic models share: the text, and the hash that names a file."""


def tokens(count):
    """As `text` in inference/tests/it/architectures.rs."""
    return [(i * i * 7 + i * 31 + 5) % 256 for i in range(count)]


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"
