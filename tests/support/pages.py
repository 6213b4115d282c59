"""HTML read back: a parser that wants every element closed, and a text that would run if it were not escaped."""

from html.parser import HTMLParser

EVIL = "</td><script>document.title = 'ran'</script><img src=x onerror=\"document.title = 'ran'\"> ' & \" [b]"
VOID = {"meta", "link", "rect", "path"}  # the last two close themselves


class Tree(HTMLParser):
    """Reads a page; an element that is not closed where it should be is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self._open[-1] if self._open else "", data))

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]
