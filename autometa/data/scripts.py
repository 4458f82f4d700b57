"""Alphabets by Unicode: which characters `fonts` renders, script by script.

Scripts of Omniglot's evaluation alphabets (Ethiopic, Glagolitic, Gurmukhi, Kannada, Malayalam, Meetei, Mongolian,
Oriya, Syloti Nagri, Syriac, Tibetan, Avestan) are left out, so that what is trained on fonts can be judged on these.
One is not: Old Church Slavonic is Cyrillic, which is here, and among the background alphabets too.
"""

from __future__ import annotations


def _between(*bounds: int) -> str:
    """Characters from the first to the second, from the third to the fourth, and so on."""
    return "".join(
        chr(code) for first, last in zip(bounds[::2], bounds[1::2], strict=True) for code in range(first, last + 1)
    )


EUROPEAN = ("Digits", "Latin capitals", "Latin small", "Greek capitals", "Greek small", "Cyrillic capitals")
EUROPEAN += ("Cyrillic small", "Coptic", "Signs")
"""Alphabets that share forms with one another: on one side of every split."""

SCRIPTS = {
    "Digits": _between(0x30, 0x39),
    "Latin capitals": _between(0x41, 0x5A),
    "Latin small": _between(0x61, 0x7A),
    "Greek capitals": _between(0x391, 0x3A1, 0x3A3, 0x3A9),
    "Greek small": _between(0x3B1, 0x3C9),
    "Cyrillic capitals": _between(0x410, 0x42F),
    "Cyrillic small": _between(0x430, 0x44F),
    "Coptic": "".join(chr(code) for code in range(0x2C80, 0x2CB2, 2)),
    "Signs": "!#$%&*+/<=>?@[]^{}~§¶£¥€±×÷∂∑∏∫√∞≠≤≥≈",
    "Armenian capitals": _between(0x531, 0x556),
    "Armenian small": _between(0x561, 0x586),
    "Georgian": _between(0x10D0, 0x10F0),
    "Hebrew": _between(0x5D0, 0x5EA),
    "Arabic": _between(0x621, 0x63A, 0x641, 0x64A),
    "Thaana": _between(0x780, 0x7A5),
    "N'Ko": _between(0x7CA, 0x7EA),
    "Devanagari": _between(0x905, 0x914, 0x915, 0x939),
    "Bengali": _between(0x985, 0x98C, 0x995, 0x9A8, 0x9AA, 0x9B0),
    "Gujarati": _between(0xA85, 0xA8B, 0xA95, 0xAA8, 0xAAA, 0xAB0),
    "Tamil": _between(0xB85, 0xB8A, 0xB95, 0xB95, 0xB99, 0xB9A, 0xB9E, 0xB9F, 0xBA3, 0xBA4, 0xBA8, 0xBAA, 0xBAE, 0xBB9),
    "Telugu": _between(0xC05, 0xC0C, 0xC15, 0xC28, 0xC2A, 0xC33),
    "Sinhala": _between(0xD85, 0xD96, 0xD9A, 0xDB1, 0xDB3, 0xDBB),
    "Thai": _between(0xE01, 0xE2E),
    "Lao": _between(0xE81, 0xE82, 0xE84, 0xE84, 0xE87, 0xE88, 0xE94, 0xE97, 0xE99, 0xE9F, 0xEA1, 0xEA3, 0xEAA, 0xEAB),
    "Myanmar": _between(0x1000, 0x1021),
    "Khmer": _between(0x1780, 0x17A2),
    "Cherokee": _between(0x13A0, 0x13F4),
    "Canadian syllabics": _between(0x1403, 0x1405, 0x1431, 0x1433, 0x144E, 0x1450, 0x146B, 0x1470, 0x1489, 0x148C)
    + _between(0x14A3, 0x14A6, 0x14C0, 0x14C3, 0x14D3, 0x14D6, 0x14EF, 0x14F2),
    "Ogham": _between(0x1681, 0x169A),
    "Runic": _between(0x16A0, 0x16EA),
    "Tagalog": _between(0x1700, 0x1711),
    "Limbu": _between(0x1900, 0x191C),
    "Tai Le": _between(0x1950, 0x196D),
    "New Tai Lue": _between(0x1980, 0x19AB),
    "Buginese": _between(0x1A00, 0x1A16),
    "Tai Tham": _between(0x1A20, 0x1A54),
    "Balinese": _between(0x1B05, 0x1B33),
    "Sundanese": _between(0x1B83, 0x1BA0),
    "Batak": _between(0x1BC0, 0x1BE5),
    "Lepcha": _between(0x1C00, 0x1C23),
    "Ol Chiki": _between(0x1C50, 0x1C77),
    "Tifinagh": _between(0x2D30, 0x2D67),
    "Hiragana": _between(0x3042, 0x3042, 0x3044, 0x3044, 0x3046, 0x3046, 0x3048, 0x3048, 0x304A, 0x304B, 0x304D, 0x304D)
    + "くけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをん",
    "Katakana": "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン",
    "Bopomofo": _between(0x3105, 0x3129),
    "Hangul letters": _between(0x3131, 0x3163),
    "Han": "一二三四五六七八九十人大小上下左右中天地日月火水木金土山川田目耳口手足力"
    "男女子犬虫貝花草林森雨空気石糸車本文字学校",
    "Yi": _between(0xA000, 0xA03F),
    "Lisu": _between(0xA4D0, 0xA4F7),
    "Vai": _between(0xA500, 0xA53F),
    "Bamum": _between(0xA6A0, 0xA6DF),
    "Phags-pa": _between(0xA840, 0xA867),
    "Saurashtra": _between(0xA882, 0xA8B3),
    "Kayah Li": _between(0xA90A, 0xA921),
    "Rejang": _between(0xA930, 0xA946),
    "Javanese": _between(0xA984, 0xA9B2),
    "Cham": _between(0xAA00, 0xAA28),
    "Linear B": _between(0x10000, 0x1000B, 0x1000D, 0x10026, 0x10028, 0x1003A),
    "Lycian": _between(0x10280, 0x1029C),
    "Carian": _between(0x102A0, 0x102D0),
    "Old Italic": _between(0x10300, 0x1031E),
    "Gothic": _between(0x10330, 0x1034A),
    "Ugaritic": _between(0x10380, 0x1039D),
    "Old Persian": _between(0x103A0, 0x103C3),
    "Deseret": _between(0x10400, 0x10427),
    "Shavian": _between(0x10450, 0x1047F),
    "Osmanya": _between(0x10480, 0x1049D),
    "Cypriot": _between(0x10800, 0x10805, 0x1080A, 0x10835),
    "Aramaic": _between(0x10840, 0x10855),
    "Phoenician": _between(0x10900, 0x10915),
    "Lydian": _between(0x10920, 0x10939),
    "Kharoshthi": _between(0x10A10, 0x10A13, 0x10A15, 0x10A17, 0x10A19, 0x10A33),
    "Old South Arabian": _between(0x10A60, 0x10A7C),
    "Old Turkic": _between(0x10C00, 0x10C48),
    "Brahmi": _between(0x11005, 0x11037),
    "Kaithi": _between(0x11083, 0x110AF),
    "Chakma": _between(0x11103, 0x11126),
}
"""The characters of each alphabet, in Unicode's order."""
