"""S3 on loopback: moto's server, with credentials that it checks."""

from __future__ import annotations

import json
import logging
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx
from moto.server import ThreadedMotoServer
from typing_extensions import Self

HOST = "127.0.0.1"
REGION = "us-east-1"


# What docs/several-machines.md asks for; these and no more are what the login of a deployment may do.
ALLOWED = ["s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]


# What docs/sources.md asks for where files are read.
MAY_READ = ["s3:ListBucket", "s3:GetObject"]


@dataclass(frozen=True, slots=True)
class Login:
    """A key and its secret."""

    key: str
    secret: str = field(repr=False)

    @cache  # noqa: B019 - a handful of logins, as long as the tests
    def client(self, service: str, endpoint: str) -> Any:
        import boto3

        return boto3.client(
            service, endpoint_url=endpoint, region_name=REGION,
            aws_access_key_id=self.key, aws_secret_access_key=self.secret,
        )  # fmt: skip


@dataclass(slots=True)
class Bucket:
    """A bucket of its own for one test, and a login that may do no more with it than docs/several-machines.md asks for.

    :param owner: who may do everything with it
    """

    endpoint: str
    name: str
    key: str
    secret: str = field(repr=False)
    owner: Login = field(repr=False)

    @property
    def client(self) -> Any:
        return self.owner.client("s3", self.endpoint)

    @property
    def keys(self) -> list[str]:
        """The names of all objects in it."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    @property
    def unfinished_uploads(self) -> int:
        return len(self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", ()))

    def get(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return content

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def path(self, prefix: str = "staging") -> Any:
        """The root of a staging in it, as the engine takes it without Airflow."""
        from upath import UPath

        return UPath(
            f"s3://{self.name}/{prefix}", key=self.key, secret=self.secret, endpoint_url=self.endpoint,
            skip_instance_cache=True,
        )  # fmt: skip

    def connection(self, **changes: Any) -> dict[str, Any]:
        """The fields of an Airflow connection to it; its extra is JSON in a text."""
        extra = json.dumps({"endpoint_url": self.endpoint, "region_name": REGION})
        return {"conn_type": "aws", "login": self.key, "password": self.secret, "extra": extra} | changes


class ObjectStorage:
    """The server, as a context manager."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)

    def __enter__(self) -> Self:
        self._start()
        self._owner = self._new_login("owner", ["s3:*"])
        self._login = self._new_login("etl", ALLOWED)
        self.reader = self._new_login("reader", MAY_READ)
        self._check_logins()
        return self

    def _start(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # which else prints every request
        self._server.start()

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    @property
    def endpoint(self) -> str:
        host, port = self._server.get_host_and_port()
        return f"http://{host}:{port}"

    def new_bucket(self) -> Bucket:
        login = self._login
        bucket = Bucket(self.endpoint, f"lake-{secrets.token_hex(6)}", login.key, login.secret, self._owner)
        bucket.client.create_bucket(Bucket=bucket.name)
        return bucket

    def _new_login(self, name: str, actions: list[str]) -> Login:
        iam = Login("any", "any").client("iam", self.endpoint)
        iam.create_user(UserName=name)
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
        iam.put_user_policy(UserName=name, PolicyName="lake", PolicyDocument=json.dumps(policy))
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return Login(made["AccessKeyId"], made["SecretAccessKey"])

    def _check_logins(self) -> None:
        """Let moto refuse every request from now on that is not signed with a key it has given."""
        httpx.post(f"{self.endpoint}/moto-api/reset-auth", content=b"0").raise_for_status()


class ObjectStorageApart(ObjectStorage):
    """The server in a process of its own, for libraries that let no other thread run while they wait for it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.object_storage"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._endpoint = self._process.stdout.readline().strip()

    def _start(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    @property
    def endpoint(self) -> str:
        return self._endpoint


if __name__ == "__main__":
    server = ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    print("http://{}:{}".format(*server.get_host_and_port()), flush=True)  # noqa: T201
    sys.stdin.read()  # until it is closed
    server.stop()
