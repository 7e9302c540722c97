"""S3 on loopback: moto's server, with credentials that it checks."""

from __future__ import annotations

import json
import logging
import secrets
from dataclasses import dataclass, field
from typing import Any

import httpx
from moto.server import ThreadedMotoServer
from typing_extensions import Self

HOST = "127.0.0.1"
REGION = "us-east-1"


@dataclass(slots=True)
class Bucket:
    """A bucket of its own for one test, and a login that may do everything with it."""

    endpoint: str
    name: str
    key: str
    secret: str = field(repr=False)

    @property
    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3", endpoint_url=self.endpoint, region_name=REGION,
            aws_access_key_id=self.key, aws_secret_access_key=self.secret,
        )  # fmt: skip

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
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # which else prints every request
        self._server.start()
        self._key, self._secret = self._new_login()
        self._check_logins()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    @property
    def endpoint(self) -> str:
        host, port = self._server.get_host_and_port()
        return f"http://{host}:{port}"

    def new_bucket(self) -> Bucket:
        bucket = Bucket(self.endpoint, f"lake-{secrets.token_hex(6)}", self._key, self._secret)
        bucket.client.create_bucket(Bucket=bucket.name)
        return bucket

    def _new_login(self) -> tuple[str, str]:
        import boto3

        iam = boto3.client(
            "iam", endpoint_url=self.endpoint, region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x"
        )
        iam.create_user(UserName="etl")
        allowed = {"Effect": "Allow", "Action": ["s3:*"], "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.put_user_policy(UserName="etl", PolicyName="lake", PolicyDocument=policy)
        made = iam.create_access_key(UserName="etl")["AccessKey"]
        return made["AccessKeyId"], made["SecretAccessKey"]

    def _check_logins(self) -> None:
        """Let moto refuse every request from now on that is not signed with a key it has given."""
        httpx.post(f"{self.endpoint}/moto-api/reset-auth", content=b"0").raise_for_status()
