import io

from meltguard.localcluster.progress import LiveProgress, PlainProgress, progress_on


def test_a_log_gets_a_line_at_the_beginning_and_the_end() -> None:
    stream = io.StringIO()
    progress = progress_on(stream)
    progress.begin("building etcd")
    for n in range(100):
        progress.update(f"{n} packages")
    progress.end("built")
    assert isinstance(progress, PlainProgress)
    assert stream.getvalue() == "building etcd ...\nbuilding etcd: built (0 s)\n"


def test_a_terminal_gets_a_spinner() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    progress = progress_on(stream)
    assert isinstance(progress, LiveProgress)
    progress.begin("building etcd")
    progress.update("3 packages")
    progress.end("built")
    assert "building etcd: built (0 s)" in stream.getvalue()
