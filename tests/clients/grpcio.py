#!/usr/bin/python3
"""A CRI client in Python's grpcio, without generated code: messages are bytes, a few fields of them are read here.

usage: grpcio.py SOCKET
grpcio sends the path of a Unix socket as :authority, percent-encoded, which HTTP/2 servers may refuse; the option
grpc.default_authority says another. Both ways are tried: the one with the option must work, the other is reported.
"""
import sys

import grpc


def varint(data, at):
    """A number of base 128, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def fields(data):
    """Fields of a message by number: integers, or bytes."""
    found, at = {}, 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 2:
            length, at = varint(data, at)
            value, at = data[at:at + length], at + length
        else:
            raise ValueError(f"wire type {key & 7}")
        found.setdefault(key >> 3, []).append(value)
    return found


def call(socket, method, request=b"", options=()):
    with grpc.insecure_channel(f"unix:{socket}", options=list(options)) as channel:
        plain = {"request_serializer": bytes, "response_deserializer": bytes}
        return channel.unary_unary(f"/runtime.v1.{method}", **plain)(request, timeout=10)


def main(socket):
    option = [("grpc.default_authority", "localhost")]
    version = fields(call(socket, "RuntimeService/Version", options=option))
    name, number, api = (version[field][0].decode() for field in (2, 3, 4))
    assert version[1] == [b"0.1.0"] and name and number and api == "v1", version
    conditions = fields(fields(call(socket, "RuntimeService/Status", options=option))[1][0])[1]
    kinds = {fields(condition)[1][0]: fields(condition).get(2, [0])[0] for condition in conditions}
    assert kinds[b"RuntimeReady"] == 1 and b"NetworkReady" in kinds, kinds
    for method in ("RuntimeService/ListPodSandbox", "RuntimeService/ListContainers", "ImageService/ListImages"):
        call(socket, method, options=option)
    try:
        call(socket, "RuntimeService/NoSuchThing", options=option)
        raise AssertionError("an unknown method was answered")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    try:
        call(socket, "RuntimeService/Version")
        plain = "works"
    except grpc.RpcError as error:
        plain = f"is refused ({error.code().name})"
    print(f"{name} {number}: grpcio works with grpc.default_authority; without it, it {plain}")


if __name__ == "__main__":
    main(sys.argv[1])
