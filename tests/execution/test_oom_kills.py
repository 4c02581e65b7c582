from pathlib import Path

from harness.execution.oom_kills import count_oom_kills


def group(root: Path, own: str, **files: str) -> int | None:
    """What is counted where /proc/self/cgroup is `own` and the hierarchy holds these files."""
    root.mkdir()
    (root / "cgroup").write_text(own, encoding="ascii")
    for name, text in files.items():
        path = root / "fs" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    return count_oom_kills(root / "cgroup", root / "fs")


def test_kills_are_counted_in_the_own_group(tmp_path: Path) -> None:
    events = "low 0\nhigh 0\nmax 7\noom 5\noom_kill {}\noom_group_kill 0\n"
    two, one = {"job__memory_dot_events": events.format(3)}, "under_oom 0\noom_kill 2\n"
    assert group(tmp_path / "v2", "0::/job\n", **two) == 3
    container = {"memory_dot_events": events.format(4)}
    assert group(tmp_path / "container", "0::/docker/abc\n", **container) == 4
    old = {"memory__job__memory_dot_oom_control": one}
    assert group(tmp_path / "v1", "5:cpu,cpuacct:/x\n4:memory:/job\n", **old) == 2


def test_no_count_where_the_kernel_does_not_tell(tmp_path: Path) -> None:
    assert group(tmp_path / "root", "0::/\n") is None
    assert count_oom_kills(tmp_path / "absent", tmp_path) is None
