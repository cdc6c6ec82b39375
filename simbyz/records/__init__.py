"""Results on disk: one Parquet file a run, written whole or not at all, and where it came from."""

from simbyz.records.parameters import (
    has_parameters,
    parameters_path,
    read_parameters,
    write_parameters,
)
from simbyz.records.parquet import (
    RUN_COLUMNS,
    STEP_COLUMNS,
    clean,
    is_finished,
    is_whole,
    prepare_folder,
    read_runs,
    read_steps,
    run_path,
    settings_digest,
    write_run,
)

__all__ = [
    "RUN_COLUMNS",
    "STEP_COLUMNS",
    "clean",
    "has_parameters",
    "is_finished",
    "is_whole",
    "parameters_path",
    "prepare_folder",
    "read_parameters",
    "read_runs",
    "read_steps",
    "run_path",
    "settings_digest",
    "write_parameters",
    "write_run",
]
