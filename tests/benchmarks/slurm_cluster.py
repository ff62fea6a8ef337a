"""A cohort on a Slurm cluster, with a task that is killed and one submission more for what is missing.

``python -m tests.benchmarks.slurm_cluster WORK [-n 8]`` needs ``sbatch`` and a cluster that answers it
(``SLURM_CONF``), and the environment that runs it on the nodes. It makes a demo dataset, submits the array of
``tandem hpc-script``, kills one task (SIGKILL) while it runs, submits ``--missing``, then runs the same sessions
through ``--use-plugin`` and compares every mask of both runs. It prints a table, and ends with 1 where a session is
not done or masks differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

PLUGIN = "plugin: SLURM\n"
#: Seconds that a task has begun its work before it is killed, and after which the whole is given up.
HEAD_START, PATIENCE = 8, 3600


def tandem(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "bids_app", *map(str, words)], capture_output=True, text=True)


def states(out: Path) -> Counter[str]:
    """How many sessions `tandem status` calls what."""
    return Counter(one["state"] for one in json.loads(tandem("status", out, "--json").stdout).values())


def queue(job: str) -> list[list[str]]:
    """Task and state of what is left of an array."""
    found = subprocess.run(["squeue", "-h", "-r", "-j", job, "-o", "%K %T"], capture_output=True, text=True, timeout=60)
    return [line.split() for line in found.stdout.splitlines()]


def write_script(bids: Path, out: Path, script: Path, *words: str) -> None:
    made = tandem("hpc-script", "slurm", bids, out, "-o", script, *words)
    if made.returncode:
        raise SystemExit(made.stderr)
    print(made.stdout, flush=True)


def submit(script: Path) -> str:
    found = subprocess.run(["sbatch", "--parsable", script], capture_output=True, text=True, check=True, timeout=60)
    return found.stdout.strip().split(";")[0]


def wait(job: str) -> None:
    ends = time.time() + PATIENCE
    while queue(job):
        if time.time() > ends:
            raise SystemExit(f"job {job} is still there after {PATIENCE} s")
        time.sleep(1)


def kill_one(job: str) -> str:
    """The number of a running task that was killed."""
    while not (running := [task for task, state in queue(job) if state == "RUNNING"]):
        time.sleep(1)
    time.sleep(HEAD_START)
    subprocess.run(["scancel", "--signal=KILL", "--full", f"{job}_{running[0]}"], check=True, timeout=60)
    return running[0]


def masks(out: Path) -> dict[str, str]:
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.glob("sub-*/**/*_dseg.nii.gz"))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("-n", type=int, default=8)
    given = parser.parse_args()
    if shutil.which("sbatch") is None:
        raise SystemExit("sbatch is not there: nothing was run")
    work = given.work.resolve()
    tandem("demo", work, "-n", str(given.n), "--only-data")
    bids, out, other = work / "bids", work / "array", work / "plugin"
    own = ("--nprocs", "1", "--mem", "4G")
    rows = []
    script = work / "array.sh"
    write_script(bids, out, script, "--throttle", "2", *own)
    start = time.perf_counter()
    job = submit(script)
    killed = kill_one(job)
    wait(job)
    rows.append((f"array, task {killed} killed", time.perf_counter() - start, dict(states(out))))
    again = work / "again.sh"
    write_script(bids, out, again, "--missing", *own)
    start = time.perf_counter()
    wait(submit(again))
    rows.append(("what was missing, again", time.perf_counter() - start, dict(states(out))))
    plugin = work / "slurm.yml"
    plugin.write_text(PLUGIN)
    start = time.perf_counter()
    found = tandem(bids, other, "participant", "--use-plugin", plugin, "-w", work / "w", *own)
    print(found.stdout[-2000:], found.stderr[-2000:])
    rows.append((f"--use-plugin, exit code {found.returncode}", time.perf_counter() - start, dict(states(other))))
    for title, seconds, counts in rows:
        print(f"{title:32s} {seconds:6.0f} s  {counts}")
    one, two = masks(out), masks(other)
    print(f"{len(one)} and {len(two)} masks, {sum(one[name] == two.get(name) for name in one)} of them the same")
    done = all(set(counts) == {"done"} for *_, counts in rows[1:])
    raise SystemExit(0 if done and one == two and one else 1)


if __name__ == "__main__":
    main()
