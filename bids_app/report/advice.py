"""What a person can do about a session that did not end well, by its exit code and reason."""

from __future__ import annotations

BY_CODE = {
    16: "Run the BIDS validator on the dataset and mend what it lists, or pass --skip-bids-validation if you know why.",
    18: "The filters left no file for this session. Look at --bids-filter-file, --session-label and the file names; "
    "--dry-run shows what would be chosen and why.",
    64: "Correct the option or configuration named above and run the session again.",
    65: "The file named above is damaged or not of the kind that is needed. Get it again from its source (convert it "
    "anew from DICOM, or fetch it again) and run this session again; the other sessions are not affected.",
    66: "A file that is needed is absent. Add it to the dataset under its BIDS name (or fetch it, if the dataset keeps "
    "only pointers: datalad get, git lfs pull), then run this session again. --dry-run shows what would be chosen.",
    73: "The output could not be created. Check the permission and free space of the output folder.",
    74: "Reading or writing failed half way. Check free space and the state of the disk, then run this session again.",
    75: "This kind of failure usually passes. Run the session again, with more memory for the job, with --low-mem, or "
    "with fewer sessions at a time (--nprocs).",
    137: "The process was killed from outside, most often because memory ran out. Run it again with fewer sessions at "
    "a time (--nprocs), with --low-mem, or with more memory for the job.",
}
GENERAL = (
    "Run this session again by itself with --participant-label and -v. If it fails the same way, report it with the "
    "text below and the folder logs/ of this session; both hold no image data."
)
RUNNING = (
    "The session has not finished. If nothing is running any more, it was interrupted: run the same command again and "
    "it resumes where it stopped."
)


def what_to_do(state: str, exit_code: int | None, reason: str) -> str:
    """One paragraph; empty for what is done."""
    if state == "done":
        return ""
    if state == "running":
        return RUNNING
    if exit_code is not None:
        code = 128 - exit_code if exit_code < 0 else exit_code  # a process ended by signal n reports -n
        if code in BY_CODE:
            return BY_CODE[code]
    reason = reason.lower()
    if reason.startswith("no ") or "missing" in reason or "absent" in reason:
        return BY_CODE[66]
    if "memory" in reason or "killed" in reason:
        return BY_CODE[137]
    return GENERAL
