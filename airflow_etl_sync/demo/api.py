"""The few calls of Airflow's REST API that the demonstration needs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_SECONDS = 0.5
DAG_SECONDS = 90.0
RUN_SECONDS = 1800.0
ANSWER_SECONDS = 30.0
ATTEMPTS = 5  # a busy machine may let a request wait for longer than that


class RunFailedError(RuntimeError):
    """A DAG run did not succeed."""

    def __init__(self, dag_id: str, run_id: str, outcome: str) -> None:
        super().__init__(f"The run {run_id} of the DAG {dag_id} {outcome}.")
        self.dag_id = dag_id
        self.run_id = run_id


@dataclass(frozen=True, slots=True)
class AirflowApi:
    """A logged-in client of one Airflow."""

    client: httpx.Client

    @classmethod
    def log_in(cls, address: str, username: str, password: str) -> AirflowApi:
        """Return a client that holds a token of this user."""
        api = cls(httpx.Client(base_url=address, timeout=ANSWER_SECONDS))
        login = {"username": username, "password": password}
        token = api.send("POST", "/auth/token", json=login).raise_for_status().json()["access_token"]
        api.client.headers["Authorization"] = f"Bearer {token}"
        return api

    def unpause(self, dag_id: str) -> None:
        """Let a DAG run, as soon as Airflow has read its file.

        :raises TimeoutError: naming the import errors that Airflow reports.
        """
        deadline = time.monotonic() + DAG_SECONDS
        while time.monotonic() < deadline:
            answer = self.send("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})
            if answer.status_code != httpx.codes.NOT_FOUND:
                answer.raise_for_status()
                return
            time.sleep(POLL_SECONDS)
        raise TimeoutError(f"Airflow does not know the DAG {dag_id}. {self._import_errors()}")

    def trigger(self, dag_id: str) -> str:
        """Start a run now and return its id."""
        run_id = f"demo__{uuid4()}"  # chosen here: a request that is sent again cannot start another run
        body = {"dag_run_id": run_id, "logical_date": None}
        answer = self.send("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)
        if answer.status_code != httpx.codes.CONFLICT:
            answer.raise_for_status()
        return run_id

    def wait_for_run(self, dag_id: str, run_id: str, progress: Callable[[str], None]) -> None:
        """Wait until a run has succeeded.

        :param progress: told which tasks are in which state.
        :raises RunFailedError: when the run ends otherwise or takes too long.
        """
        deadline = time.monotonic() + RUN_SECONDS
        state = "queued"
        while time.monotonic() < deadline:
            state = str(self._read(f"/dags/{dag_id}/dagRuns/{run_id}")["state"])
            if state == "success":
                return
            tasks = self._task_states(dag_id, run_id)
            # Nothing in a demonstration mends itself by waiting: the first failed try is told at once.
            if state == "failed" or "up_for_retry" in tasks:
                raise RunFailedError(dag_id, run_id, f"failed: {tasks}")
            progress(tasks)
            time.sleep(POLL_SECONDS)
        raise RunFailedError(dag_id, run_id, f"is still {state} after {RUN_SECONDS:.0f} s")

    def returned(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """Return what a task returned that returns named values."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        value: dict[str, Any] = self._read(path)["value"]
        return value

    def _task_states(self, dag_id: str, run_id: str) -> str:
        instances = self._read(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        started = [instance for instance in instances if instance["state"] not in (None, "success")]
        return ", ".join(f"{instance['task_id']} {instance['state']}" for instance in started) or "scheduling"

    def _import_errors(self) -> str:
        errors = self._read("/importErrors")["import_errors"]
        return " ".join(f"{error['filename']}: {error['stack_trace']}" for error in errors)

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request that may be sent twice, and again when it is not answered.

        :raises TimeoutError: when it is not answered at all.
        """
        for _ in range(ATTEMPTS):
            answer = self._attempt(method, path, **options)
            if answer is not None:
                return answer
            time.sleep(POLL_SECONDS)
        raise TimeoutError(f"Airflow does not answer {method} {path}.")

    def _attempt(self, method: str, path: str, **options: Any) -> httpx.Response | None:
        try:
            return self.client.request(method, path, **options)
        except httpx.TransportError:
            return None

    def _read(self, path: str) -> dict[str, Any]:
        body: dict[str, Any] = self.send("GET", f"/api/v2{path}").raise_for_status().json()
        return body
