"""Webhooks of Quay, Docker Hub and GitHub's registry. The first two do not say the digest."""

from collections.abc import Mapping
from typing import Any

from accel.oci.fields import get_object, get_text, get_texts, json_object, need_text
from accel.service.incoming.build import Found


def quay_events(headers: Mapping[str, str], value: Any) -> list[Found]:
    """Of «Push to repository»; one for each tag. Neither id nor time is said: the next push looks the same."""
    body = json_object(value, "body")
    repository = need_text(body, "repository", "body")
    return [
        Found("push", repository, tag, same=(headers.get("x-request-id", ""),))
        for tag in get_texts(body, "updated_tags", "body")
    ]


def dockerhub_events(headers: Mapping[str, str], value: Any) -> list[Found]:
    """Of a webhook."""
    body = json_object(value, "body")
    pushed = get_object(body, "push_data", "body") or {}
    repository = get_object(body, "repository", "body") or {}
    return [
        Found(
            "push",
            need_text(repository, "repo_name", "repository"),
            need_text(pushed, "tag", "push_data"),
            host="docker.io",
            actor=get_text(pushed, "pusher", "push_data"),
            same=(pushed.get("pushed_at"),),
        )
    ]


def ghcr_events(headers: Mapping[str, str], value: Any) -> list[Found]:
    """Of a ``registry_package`` webhook about a container."""
    body = json_object(value, "body")
    package = get_object(body, "registry_package", "body") or {}
    version = get_object(package, "package_version", "registry_package") or {}
    container = get_object(version, "container_metadata", "package_version") or {}
    tag = get_object(container, "tag", "container_metadata") or {}
    is_push = get_text(body, "action", "body") in ("published", "updated")
    is_container = get_text(package, "package_type", "registry_package").upper() == "CONTAINER"
    namespace, name = get_text(package, "namespace", "registry_package"), get_text(package, "name", "registry_package")
    sender = get_object(body, "sender", "body") or {}
    return [
        Found(
            "push" if is_push and is_container else "other",
            f"{namespace}/{name}".lower(),
            get_text(tag, "name", "tag"),
            get_text(tag, "digest", "tag"),
            id=headers.get("x-github-delivery", ""),
            host="ghcr.io",
            actor=get_text(sender, "login", "sender"),
            same=(version.get("updated_at"), version.get("id")),
        )
    ]
