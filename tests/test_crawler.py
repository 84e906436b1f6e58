"""Tests of the main example, `examples/crawler.py`.

The styles are run against the real web site in its own process; the whole program is run as a user runs it,
under the loop that comes with Python and under Tulipa. Nothing here waits for time to pass: a process is
waited for by reading its pipes to their end, which the site, inheriting them, keeps open as long as it lives.
"""

import contextlib
import errno
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

from crawler import blocking, chart, hosting, process_pool  # noqa: E402
from crawler.command import main  # noqa: E402
from crawler.hosting import Host  # noqa: E402
from crawler.measuring import Measurement, measure  # noqa: E402
from crawler.styles import STYLES, Style  # noqa: E402
from crawler.web import HttpError, Page, Response, Site, links, request  # noqa: E402

PROGRAM = str(EXAMPLES / "crawler.py")
LAUNCHERS = {
    "asyncio": [sys.executable],
    "tulipa": [str(Path(sys.executable).with_name("tulipa")), "run"],
}
SVG = "{http://www.w3.org/2000/svg}"

by_style = pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
by_launcher = pytest.mark.parametrize("launcher", LAUNCHERS.values(), ids=LAUNCHERS.keys())


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """The site, answering after a fifth of a second: long enough for four requests to be there together."""
    with hosting.running(delay=0.2, articles=4) as host:
        yield host


@pytest.fixture
def deaf_site() -> Iterator[Site]:
    """A site whose port is taken but where nobody listens: connecting is refused."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield Site("127.0.0.1", sock.getsockname()[1], ("/process", "/thread"))


@by_style
def test_a_style_fetches_the_bytes_of_the_site(style: Style, host: Host) -> None:
    measurement = measure(style, host)
    assert measurement.wrong == ()
    assert measurement.cpu_seconds > 0
    assert measurement.seconds >= 0.2


@by_style
def test_the_figures_of_a_style_tell_how_it_works(style: Style, host: Host) -> None:
    measurement = measure(style, host)
    figures = (measurement.in_flight, measurement.processes, measurement.threads)
    if style.name == "process-pool":
        # How many of the workers come up in time to get an article depends on the machine.
        assert 1 <= measurement.in_flight <= measurement.processes == measurement.threads <= 4
    else:
        assert figures == {"blocking": (1, 1, 1), "thread-pool": (4, 1, 4)}.get(style.name, (4, 1, 1))


def test_the_workers_of_the_process_pool_are_other_processes(host: Host) -> None:
    assert os.getpid() not in {page.process for page in process_pool.crawl(host.site)}


@by_style
def test_a_style_raises_when_an_article_is_missing(style: Style, host: Host) -> None:
    site = replace(host.site, articles=(*host.site.articles, "/nowhere"))
    assert "404" in str(error_of(style, site)), "the error names the status"


@by_style
def test_a_style_raises_when_nobody_listens(style: Style, deaf_site: Site) -> None:
    error = error_of(style, deaf_site)
    assert isinstance(error, OSError)
    assert error.errno == errno.ECONNREFUSED


def error_of(style: Style, site: Site) -> Exception:
    """The error that `style` raises, taken out of the group that a task group puts it in."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the class is the style's own affair
        style.load()(site)
    error = caught.value
    return error.exceptions[0] if isinstance(error, ExceptionGroup) else error


def test_the_articles_link_to_each_other_and_to_nothing_else(host: Host) -> None:
    for page in blocking.crawl(host.site):
        found = links(page.body)
        assert found
        assert set(found) < set(host.site.articles), "others, and not itself"


@by_launcher
def test_the_whole_program_fetches_in_every_style(launcher: list[str], tmp_path: Path) -> None:
    result = run_program(launcher, "--delay", "0.02", "--plain", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    loop, headings, *rows = result.stdout.splitlines()
    assert loop.startswith("Loop: tulipa." if "tulipa" in launcher[0] else "Loop: asyncio.")
    assert " ".join(headings.split()) == "style time in flight processes threads CPU time bytes"
    for style, row in zip(STYLES, rows, strict=False):
        assert row.startswith(style.label)
        assert row.endswith(" same")
    assert bar_labels(tmp_path / "crawler.svg") == [style.label for style in STYLES]


@by_launcher
def test_the_table_for_terminals_has_a_row_per_style(launcher: list[str], tmp_path: Path) -> None:
    chosen = ("--style", "streams", "--style", "callbacks")
    result = run_program(launcher, "--delay", "0", "--articles", "12", *chosen, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines() if line.rstrip().endswith("same")]
    assert [row[:2] for row in rows] == [["event", "loop,"], ["async/await,", "streams"]]
    assert all(len(line) <= 80 for line in result.stdout.splitlines()), "fits the terminal"


@by_launcher
@pytest.mark.parametrize("style", ["blocking", "callbacks", "yield-from", "streams"])
def test_ctrl_c_ends_the_program_and_the_site(launcher: list[str], style: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        [*launcher, PROGRAM, "--delay", "60", "--style", style, "--plain"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        for line in program.stdout:
            if line.startswith("style"):
                break
        wait_for_a_connection(program)
        program.send_signal(signal.SIGINT)
        try:
            # Comes back when all who hold the pipes have ended, the site among them.
            _, errors = program.communicate(timeout=30)
        finally:
            program.kill()
    assert program.returncode == 1
    assert errors.strip() == "Aborted!"


def test_the_site_ends_when_the_program_is_killed() -> None:
    program = (
        "import os, signal\nfrom crawler import hosting\n"
        "with hosting.running(60, 1) as host:\n"
        "    print(host.site.port, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # `run` comes back when standard error has been closed by both, the killed program and the site.
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=EXAMPLES, capture_output=True, text=True, timeout=30, check=False
    )
    assert result.returncode == -signal.SIGKILL
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(result.stdout)))


def test_the_site_ends_with_the_block_that_runs_it() -> None:
    with pytest.raises(KeyError), hosting.running(delay=60, articles=1) as host:
        raise KeyError
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(host.site.address)


def flip_a_bit(pages: list[Page]) -> list[Page]:
    """The same number of bytes, one of them another."""
    first, *rest = pages
    return [replace(first, body=bytes([first.body[0] ^ 1]) + first.body[1:]), *rest]


def leave_one_out(pages: list[Page]) -> list[Page]:
    """All but the first."""
    return pages[1:]


@pytest.mark.parametrize("spoil", [flip_a_bit, leave_one_out])
def test_wrong_bytes_are_reported_and_fail_the_program(
    spoil: Callable[[list[Page]], list[Page]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        blocking, "crawl", lambda site: spoil([blocking.fetch(site, p) for p in site.articles])
    )
    output = tmp_path / "wrong.svg"
    options = ["--articles", "2", "--delay", "0", "--plain", "--output", str(output)]
    result = CliRunner().invoke(main, [*options, "--style", "blocking", "--style", "streams"])
    assert result.exit_code == 1
    lines = {line[:8]: line for line in result.output.splitlines()}
    assert lines["blocking"].endswith("  WRONG: /process")
    assert lines["async/aw"].endswith("  same")
    assert "the styles did not all fetch the same bytes" in result.output
    assert "wrong bytes" in output.read_text()


def test_a_library_that_is_not_installed_leaves_its_style_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    output = tmp_path / "crawler.svg"
    options = ["--articles", "1", "--delay", "0", "--plain", "--output", str(output)]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 0
    assert "Left out: aiohttp, because aiohttp is not installed" in result.output
    assert len(bar_labels(output)) == len(STYLES) - 1

    result = CliRunner().invoke(main, ["--style", "aiohttp"])
    assert result.exit_code == 2
    assert "style aiohttp needs aiohttp, which is not installed" in result.output


def test_a_chart_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    output = tmp_path / "missing" / "crawler.svg"
    options = ["--articles", "1", "--delay", "0", "--plain", "--style", "blocking", "--output", str(output)]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 1
    assert f"Error: cannot write {output}: No such file or directory" in result.output


def test_the_bars_are_as_long_as_the_times_and_stay_inside(tmp_path: Path) -> None:
    times = [1.0, 0.25, 0.5]
    measurements = [
        Measurement(replace(style, label=f"<{style.label}> & co"), seconds, seconds / 2, 1, 1, 1, ())
        for style, seconds in zip(STYLES, times, strict=False)
    ]
    output = tmp_path / "chart.svg"
    output.write_text(chart.svg(measurements, 'a "title" & <more>', "subtitle"))
    widths = [float(bar.attrib["width"]) for bar in bars(output, "time")]
    assert widths == pytest.approx([widths[0] * seconds for seconds in times], abs=0.1)
    assert [float(bar.attrib["width"]) for bar in bars(output, "cpu")] == pytest.approx(
        [width / 2 for width in widths], abs=0.1
    )
    assert max(widths) + chart.LEFT + chart.RIGHT <= chart.WIDTH
    assert bar_labels(output) == [measurement.style.label for measurement in measurements]


@pytest.mark.parametrize("longest", [0.0, 1e-5, 0.1, 0.99, 1.0, 1.013, 7.3, 60, 5000])
def test_the_axis_covers_the_longest_bar_with_a_few_lines(longest: float) -> None:
    step, ticks = chart.axis(longest)
    assert step * ticks >= longest * (1 - 1e-9)
    assert step * (ticks - 1) < max(longest, step / 2)
    assert 1 <= ticks <= 6


def test_a_response_is_complete_at_its_last_byte_however_it_is_cut() -> None:
    whole = b"HTTP/1.1 200 OK\r\ncontent-LENGTH:  5\r\n\r\nhello"
    response = Response("/")
    assert [response.feed(whole[i : i + 1]) for i in range(len(whole))] == [False] * (len(whole) - 1) + [True]
    assert response.page().body == b"hello"


@pytest.mark.parametrize(
    ("received", "message"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "/x: HTTP/1.1 404 Not Found"),
        (b"HTTP/1.1 200 OK\r\nServer: none\r\n\r\n", "/x: no Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhell", "/x: the connection was closed after 42 bytes"),
        (b"", "/x: the connection was closed after 0 bytes"),
    ],
)
def test_a_response_that_is_no_whole_page_raises(received: bytes, message: str) -> None:
    response = Response("/x")
    with pytest.raises(HttpError, match=f"^{message}$"):
        feed_to_the_end(response, received)


def feed_to_the_end(response: Response, received: bytes) -> None:
    """All that was received, then the end of the connection."""
    if received:
        assert not response.feed(received)
    response.feed(b"")


def test_a_request_is_what_http_asks_for() -> None:
    assert request(Site("127.0.0.1", 8080), "/thread") == (
        b"GET /thread HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nConnection: close\r\n\r\n"
    )


def wait_for_a_connection(program: "subprocess.Popen[str]") -> None:
    """Wait until the program has a TCP connection: its style is in the middle of fetching then."""
    while program.poll() is None:
        with open(f"/proc/{program.pid}/net/tcp", encoding="ascii") as table:
            lines = [line.split() for line in table.readlines()[1:]]
        established = {f"socket:[{line[9]}]" for line in lines if line[3] == "01"}
        if not established.isdisjoint(open_files(program.pid)):
            return
        time.sleep(0.01)


def open_files(process: int) -> Iterator[str]:
    """What the descriptors of a process lead to."""
    with contextlib.suppress(FileNotFoundError):  # one was closed meanwhile; the rest is seen the next time
        for link in Path(f"/proc/{process}/fd").iterdir():
            yield os.readlink(link)


def run_program(launcher: list[str], *options: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run the program as a user does, in an empty folder and a terminal of the usual width."""
    return subprocess.run(
        [*launcher, PROGRAM, *options],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def bars(document: Path, kind: str) -> list[ET.Element]:
    """The bars of a chart; raises if it is not well-formed."""
    return [rect for rect in ET.parse(document).iter(f"{SVG}rect") if rect.get("class") == kind]


def bar_labels(document: Path) -> list[str | None]:
    """The labels of a chart that has a bar for each of them."""
    labels = [text.text for text in ET.parse(document).iter(f"{SVG}text") if text.get("class") == "label"]
    assert len(labels) == len(bars(document, "time")) == len(bars(document, "cpu"))
    return labels
