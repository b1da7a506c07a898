"""What a text has in English letters and digits, as the English tokenizer cuts it.

The model knows such words and numbers by their own tokens. A tokenizer of the new language, which has seen few of them,
would cut "2016" to "201" and "##6", "institute" to "in", "stit", "ute", of which none means what the whole does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tokenizers import Tokenizer

from ..corpus.scripts import is_latin

_NUMBER = re.compile("[0-9]+")
_WORD = re.compile("[A-Za-z]+")


def shared_tokens(source: Tokenizer, prefix: str, lines: Sequence[str]) -> list[str]:
    """Tokens of an English WordPiece tokenizer that text of another language needs to be cut as English is.

    All of its numbers; and where the text is of another script the tokens of the words in Latin letters that it has.
    In the order of their ids. source: pads and cuts nothing. prefix: of its tokens inside words. lines: text of the
    new language.
    """
    names = source.get_vocab()
    tokens = {token for token in names if _NUMBER.fullmatch(token.removeprefix(prefix))}
    if not is_latin(lines):
        words = sorted({word for line in lines for word in _WORD.findall(line)})
        for encoding in source.encode_batch(words, add_special_tokens=False):
            tokens.update(encoding.tokens)
    return sorted(tokens, key=names.__getitem__)
