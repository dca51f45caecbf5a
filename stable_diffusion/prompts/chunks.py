"""From tokens to chunks, which an encoder takes one by one."""

Token = tuple[int, float]  # an id, and its weight
Chunk = list[Token]  # between begin and end
BACK = 20  # tokens before the end of a chunk within which a comma ends it
WORD = 8  # tokens of a word that may be cut in two


def by_commas(words: list[list[Token]], room: int, comma: int | None) -> list[Chunk]:
    """Chunks of room tokens; what follows a comma among the last 20 of a full one moves on (AUTOMATIC1111).

    words: whose borders do not matter here.
    """
    chunks: list[Chunk] = [[]]
    last = -1  # the place of the last comma in the last chunk
    for token in (token for word in words for token in word):
        chunk = chunks[-1]
        if token[0] == comma:
            last = len(chunk)  # a comma that finds the chunk full begins the next one all the same
        elif len(chunk) == room and last >= 0 and len(chunk) - last <= BACK:
            chunks[-1], moved = chunk[: last + 1], chunk[last + 1 :]
            chunks.append(moved)
            last = -1
        if len(chunks[-1]) == room:
            chunks.append([])
            last = -1
        chunks[-1].append(token)
    return chunks


def by_words(words: list[list[Token]], room: int, comma: int | None) -> list[Chunk]:
    """Chunks of room tokens that cut no word of fewer than 8 tokens (ComfyUI); a longer one fills the chunk up."""
    chunks: list[Chunk] = [[]]
    for word in words:
        while len(chunks[-1]) + len(word) > room:
            fits = room - len(chunks[-1]) if len(word) >= WORD else 0
            chunks[-1] += word[:fits]
            word = word[fits:]
            chunks.append([])
        chunks[-1] += word
    return chunks
