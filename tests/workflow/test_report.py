"""The report and the transcripts of a whole run, and Snakemake's own report of it, with a figure that was added."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from support.once import Finished
from support.packed import data_in, unpacked

from personalrm.results.spec import NOTHING


class Page(HTMLParser):
    """Tags, addresses that a browser would follow or fetch, and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_run_ends_with_its_report_and_its_transcripts(finished: Finished) -> None:
    project = finished.project
    source = (project.run / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    # The page works offline: it links to its own anchors and to the transcripts only, and contains its images.
    inside = r"#|transcripts\.html(#user=people/\w+)?$"
    assert all(re.match(inside, address) for address in page.addresses), page.addresses
    assert page.tags.count("script") == 1
    assert "link" not in page.tags
    made = sorted(path.stem for path in (project.run / "tables").glob("*.html"))
    assert {"main", "differences", "transfer"} <= set(made)
    assert all(f' id="{name}">' in source for name in made)
    assert source.count('<li class="card">') == 3
    # A figure of which the run holds nothing is a sentence.
    captions = [path.read_text(encoding="utf-8") for path in (project.run / "figures").glob("*.txt")]
    drawn = [caption for caption in captions if not caption.startswith(NOTHING)]
    images = re.findall(r'<img data-packed="([^"]+)"', source)
    assert page.tags.count("img") == len(images) == len(drawn) >= len(captions) - 1
    files = {path.read_bytes() for path in (project.run / "figures").glob("*.svg")}
    assert {unpacked(image) for image in images} <= files
    assert "canary-pass" not in source + (project.run / "manifest.json").read_text(encoding="utf-8")
    assert "people: 3 users with 42 pairs; 3 judged, on 12 test pairs." in source
    assert "Table or figure filter sensitivity" in source
    assert "Table or figure transfer" not in source

    transcripts = (project.run / "transcripts.html").read_text(encoding="utf-8")
    data = data_in(transcripts)
    assert "canary-pass" not in transcripts + json.dumps(data)
    asked = {json.dumps([[m["role"], m["content"]] for m in body["messages"]]) for body in finished.requests}
    for call in data["calls"]:
        # What the page shows is what the server was sent and said.
        messages = [(data["messages"][place][0], data["texts"][data["messages"][place][1]]) for place in call["prompt"]]
        assert json.dumps([list(message) for message in messages]) in asked
        assert data["texts"][call["answer"]["text"]]
    assert sum(len(verdicts) for _, _, verdicts in data["items"]) == sum(
        len(json.loads(line)["verdicts"])
        for path in (project.run / "verdicts").rglob("*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    )

    own = (project.folder / "snakemake.html").read_text(encoding="utf-8")
    assert all(f"tables/{name}.html" in own for name in made)
    assert "Holm" in own


def test_a_new_figure_is_one_file(finished: Finished) -> None:
    project, said = finished.project, finished.said
    assert "Drawing the figure judgments" in said
    assert re.search(r"^figure_judgments +1$", said, re.MULTILINE)
    for kind in ("pdf", "svg", "png", "txt"):
        assert (project.run / "figures" / f"judgments.{kind}").stat().st_size
    assert (project.run / "benchmarks" / "figure_judgments.tsv").is_file()
    assert (project.run / "logs" / "figure_judgments.log").is_file()
    # In the report at its place, with its caption.
    page = (project.run / "report.html").read_text(encoding="utf-8")
    sections = re.findall(r'<(?:section|details class="result") id="(.*?)">', page)
    # Figures in their order, and then tables that have none.
    assert [name for name in sections if name in ("main", "judgments", "differences", "scaling", "scaling_labels")] == [
        *("main", "judgments", "scaling", "scaling_labels", "differences"),
    ]
    assert '<p class="caption">3 users.</p>' in page
    own = (project.folder / "snakemake.html").read_text(encoding="utf-8")
    assert "figures/judgments.svg" in own
    assert "Judgments of each user, counted." in own
