"""From tokens to chunks, which an encoder takes one by one."""

Token = tuple[int, float]  # an id, and its weight
Chunk = list[Token]  # between begin and end
BACK = 20  # tokens before the end of a chunk within which a comma ends it
SHORT = 8  # tokens of a segment that may be cut in two


def by_commas(units: list[list[Token]], room: int, comma: int | None) -> list[Chunk]:
    """Chunks of room tokens; what follows a comma among the last 20 of a full one moves on (AUTOMATIC1111).

    units: single tokens, and the tokens of an embedding, which begins the next chunk where it does not fit whole. One
    that fits into no chunk is cut.
    """
    chunks: list[Chunk] = [[]]
    last = -1  # the place of the last comma in the last chunk
    for unit in units:
        chunk = chunks[-1]
        if unit[0][0] == comma:
            last = len(chunk)  # a comma that finds the chunk full begins the next one all the same
        elif len(chunk) == room and last >= 0 and len(chunk) - last <= BACK:
            chunks[-1], moved = chunk[: last + 1], chunk[last + 1 :]
            chunks.append(moved)
            last = -1
        if chunks[-1] and len(chunks[-1]) + len(unit) > room:
            chunks.append([])
            last = -1
        _fill(chunks, unit, room)
    return chunks


def by_segments(segments: list[list[Token]], room: int, comma: int | None) -> list[Chunk]:
    """Chunks of room tokens; a segment of fewer than 8 that does not fit moves on whole, a longer one is cut (ComfyUI).

    segments: words of one weight between parentheses or embeddings, or an embedding.
    """
    chunks: list[Chunk] = [[]]
    for segment in segments:
        if len(segment) < SHORT and len(chunks[-1]) + len(segment) > room:
            chunks.append([])
        _fill(chunks, segment, room)
    return chunks


def _fill(chunks: list[Chunk], tokens: list[Token], room: int) -> None:
    """Add tokens to the last chunk, and to new ones where it is full."""
    at = 0
    while at < len(tokens):
        if len(chunks[-1]) == room:
            chunks.append([])
        end = at + room - len(chunks[-1])
        chunks[-1] += tokens[at:end]
        at = end
