"""Hands a whole sweep to Slurm as one job, and waits for it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

from twin.case import Case, Results
from twin.errors import TwinError
from twin.files import folder

SCRIPT = Path(__file__).parents[2] / "scripts" / "twin"


def submit_sweep(
    case: Case,
    level: str,
    results: Results,
    ranks: int,
    output: Path | None,
    allow_high_reynolds: bool = False,
) -> None:
    """Submits `twin sweep` with as many tasks as ranks, and waits until the job has ended.

    Finished points are kept whatever becomes of the job, so the same command goes on from there.
    """
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        raise TwinError("there is no sbatch: this is not a machine of a Slurm cluster", "use --launcher local")
    log = folder(results.folder / "logs") / "slurm-%j.log"
    sweep = [str(SCRIPT), "sweep", str(case.folder.resolve()), "--level", level, "--ranks", str(ranks)]
    if output is not None:
        sweep += ["--output", str(output.resolve())]
    if allow_high_reynolds:
        sweep.append("--allow-high-reynolds")
    command = [sbatch, "--wait", f"--job-name=twin-{case.name}", f"--ntasks={ranks}", f"--output={log}"]
    done = subprocess.run([*command, "--wrap", shlex.join(sweep)], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise TwinError(f"the Slurm job failed: {reason[0]}", f"its log is in {log.parent}; finished points are kept")
