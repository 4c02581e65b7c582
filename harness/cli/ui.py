"""Command `harness ui`: start MLflow's web interface."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer

from harness.cli.options import WorkspaceOption
from harness.config.study_files import read_study_config
from harness.core.errors import ConfigError, UserError
from harness.core.paths import StudyPaths, Workspace
from harness.core.sqlite_file import explain_sqlite_error
from harness.core.sqlite_urls import mlflow_sqlite_url
from harness.search.storage.sqlite_lookup import find_experiment_id
from harness.tracking.relocation import relocate_artifacts

N_LINKS = 3  # studies whose addresses are printed


def ui(
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1. Example: --port 5001")
    ] = 5000,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Start MLflow's web interface on this workspace, for this machine only.

    Example: harness ui
    """
    workspace_paths = Workspace.at(workspace)
    if not workspace_paths.mlflow_db.exists():
        raise UserError(f"no mlflow.db in {workspace_paths.root}; run a study first: harness run")
    try:
        moved = relocate_artifacts(workspace_paths.mlflow_db, workspace_paths.mlruns)
    except sqlite3.Error as error:
        reason = explain_sqlite_error(workspace_paths.mlflow_db, error)
        raise UserError(reason or f"{workspace_paths.mlflow_db}: {error}") from error
    if moved:
        sys.stderr.write(f"{moved}\n")
    command = [
        *(sys.executable, "-P", "-m", "mlflow", "ui"),
        # This machine only: MLflow's server has no login, and
        # whoever reaches it can read every artifact.
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", mlflow_sqlite_url(workspace_paths.mlflow_db)),
        *("--default-artifact-root", workspace_paths.mlruns.as_uri()),
    ]
    sys.stderr.write(f"http://127.0.0.1:{port} (stop it with Ctrl-C)\n")
    for line in study_links(workspace_paths, port):
        sys.stderr.write(f"{line}\n")
    # -P and the variable keep the workspace off the import path, also of the processes that the
    # server starts: a file such as random.py there would otherwise be imported.
    environment = os.environ | {"PYTHONSAFEPATH": "1"}
    with subprocess.Popen(command, cwd=workspace_paths.root, env=environment) as server:
        code = server.wait()
    if code not in (0, -2, 130):  # the last two: Ctrl-C
        raise UserError(
            f"mlflow ui ended with code {code}; if port {port} is in use, give another --port"
        )


def study_links(workspace: Workspace, port: int) -> list[str]:
    """Addresses of the last studies' trials, best first, the study that changed last first."""
    files = sorted(
        workspace.studies.glob("*/study.yaml"), key=lambda path: -path.stat().st_mtime_ns
    )
    links = []
    for file in files[:N_LINKS]:
        paths = StudyPaths(file.parent)
        try:
            config = read_study_config(paths)
        except (ConfigError, OSError):
            continue  # of another version, or damaged: `harness report` says so
        experiment = find_experiment_id(workspace.mlflow_db, str(config.id))
        if experiment is not None:
            order = {
                "orderByKey": f"metrics.`{config.objective.metric.replace('val/', 'best/')}`",
                "orderByAsc": str(config.objective.minimized).lower(),
            }
            page = f"http://127.0.0.1:{port}/#/experiments/{experiment}/runs?{urlencode(order)}"
            links.append(f"{paths.name}: {page}")
    return links
