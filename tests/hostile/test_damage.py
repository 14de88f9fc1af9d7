"""Every file of a run's folder, damaged in every way: named, or passed over, and never silently another run."""

import random
from collections.abc import Callable
from pathlib import Path

from .tiny_tasks import Ended, TinyTask
from .verdict import Outcome, Verdict, last_line, of_process


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


WAYS: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": cut,
    "flipped": flip,
}


def test_damaged_checkpoint(task: TinyTask, verdict: Verdict) -> None:
    """One that is named is refused, with the name of the file; of `latest`, the one before is taken."""
    numbers = random.Random(task.task)
    output_dir = task.folder / "damaged"
    # Two checkpoints, the second at the end.
    assert task.run(task.folder / "two", save_total_limit=2).code == 0
    two, task.whole = task.whole, task.folder / "two"
    newest = max(task.whole.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1])).name
    files = [path.relative_to(task.whole) for path in sorted((task.whole / newest).rglob("*.*"))]
    files = [file for file in files if file.suffix != ".py"]
    for file in files:
        way = numbers.choice(list(WAYS))
        WAYS[way](task.copy_of_whole(output_dir) / file)
        name, inner = f"{file}, {way}", str(file.relative_to(newest))
        ended = task.run(output_dir, resume_from_checkpoint=output_dir / newest)
        outcome = of_process(ended.code, ended.stderr, [inner])
        verdict.add(f"damage, named: {task.task}", name, Outcome.WRONG if outcome is Outcome.FINE else outcome)
        ended = task.run(output_dir, save_total_limit=2)
        add_end(task, output_dir, f"damage, latest: {task.task}", name, ended, verdict, inner in ended.stderr)
    task.whole = two


def test_damaged_folder(task: TinyTask, verdict: Verdict) -> None:
    """What lies beside the checkpoint comes from it, or is made again."""
    numbers = random.Random(task.task)
    output_dir = task.folder / "damaged"
    files = (path for path in sorted(task.whole.rglob("*")) if path.is_file() and path.suffix != ".py")
    beside = [path for path in files if "checkpoint-" not in str(path)]
    for path in beside:
        way = numbers.choice(list(WAYS))
        file = path.relative_to(task.whole)
        WAYS[way](task.copy_of_whole(output_dir) / file)
        add_end(task, output_dir, f"damage, beside: {task.task}", f"{file}, {way}", task.run(output_dir), verdict)


def add_end(
    task: TinyTask, output_dir: Path, kind: str, name: str, ended: Ended, verdict: Verdict, is_named: bool = True
) -> None:
    """Of a run that should end as the undisturbed one, and say what was wrong."""
    if ended.hung:
        verdict.add(kind, name, Outcome.HANG)
    elif ended.code:
        verdict.add(kind, name, of_process(ended.code, ended.stderr), last_line(ended.stderr))
    elif message := task.difference(output_dir):
        verdict.add(kind, name, Outcome.WRONG, message)
    else:
        verdict.add(kind, name, Outcome.FINE if is_named else Outcome.VAGUE)
