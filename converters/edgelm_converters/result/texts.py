"""The fixed samples that every conversion is checked on."""

TOKENIZER_SAMPLE = (
    "The quick brown fox jumps over the lazy dog.",
    "  two leading spaces, a tab\tand a\n\nblank line",
    "def f(x: int) -> int:\n    return x ** 2  # comment",
    "3.14159 + 1_000_000 = 0x1F; 12,345.67 €",
    "Grüße aus München, voilà, ¿qué tal?, Łódź, İstanbul",
    "Привет, мир! Καλημέρα κόσμε. שלום עולם. مرحبا بالعالم",
    "你好，世界。こんにちは世界。안녕하세요 세계. नमस्ते दुनिया",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🤖 e\u0301 \u00e9 ﬁ ①",
)
"""Languages, scripts, emoji built of several code points, code, numbers and white space."""

LOGITS_TEXT = """\
Water boils at a lower temperature on a mountain than at the sea, because the air above it weighs less. \
A cook who moves to the hills soon learns that an egg takes longer, that beans take much longer, and that \
a lid helps. The same law lets a pressure cooker do in ten minutes what a pot does in an hour. In 1679 \
Denis Papin showed such a vessel to the Royal Society and called it a digester of bones; it had a valve \
with a weight on it, so that it would whistle instead of bursting.
"""
"""About a hundred tokens of plain English, written for this file."""
