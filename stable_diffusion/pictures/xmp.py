"""The texts in XMP, the XML that a picture's file may carry. Draw Things keeps its settings there."""

from xml.parsers import expat

KEYWORD = "XMP"
MOST = 2**22  # letters; longer ones are not read
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XML = "http://www.w3.org/XML/1998/namespace"


def xmp_texts(xmp: str | bytes) -> dict[str, str]:
    """The properties that are texts, as "XMP UserComment"; all of it as "XMP", where it can't be read.

    A document type is refused, and with it all entities: none could grow, or name a file.
    """
    text = xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else xmp
    text = text.strip("\0 \r\n\t\ufeff")
    if len(text) > MOST:
        return {KEYWORD: text}
    found: dict[str, list[str]] = {}
    inside: list[str] = []  # the properties that are open

    def start(name: str, attributes: dict[str, str]) -> None:
        space, _, local = name.rpartition(" ")
        inside.append(inside[-1] if space == _RDF and inside else "" if space == _RDF else local)
        for key, value in attributes.items():
            space, _, local = key.rpartition(" ")
            if space not in (_RDF, _XML, "") and value.strip():
                found.setdefault(local, []).append(value)

    def end(name: str) -> None:
        inside.pop()

    def letters(text: str) -> None:
        if inside and inside[-1] and text.strip():
            found.setdefault(inside[-1], []).append(text)

    def refuse(*_: object) -> None:
        raise ValueError("a document type")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, letters
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, ValueError):
        return {KEYWORD: text} if text else {}
    return {f"{KEYWORD} {name}": "\n".join(texts) for name, texts in found.items()}
