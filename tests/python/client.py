#!/usr/bin/env python3
"""A client of Holdfast that knows nothing of Holdfast but its address and a context.

No code is generated from the contract: the coordinator describes its services by gRPC reflection, and messages are made
from what it says. A context is what `holdfast context add` has written: one file with addresses, and beside it a folder
with the operator's key and certificate and with the CA to trust.

    client.py services                           what can be called, with the types of each call
    client.py health                             whether this coordinator leads and answers
    client.py hosts | apps                       one JSON object a line
    client.py failover APP --to REGION --reason WHY
    client.py watch NUMBER                       an operation, one line for each event, until it ends

Exit status: 0 done, 1 no answer, 7 refused (the refusal is printed as JSON, with its reason and the next commands).
"""

import argparse
import json
import sys
import tomllib
from pathlib import Path

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

CALL_SECONDS = 10
WATCH_SECONDS = 120


def context(file, name=None, stranger=False):
    """The address of a context's coordinator, and the TLS that its key and certificates make."""
    contexts = tomllib.loads(file.read_text())
    name = name or contexts["current"]
    chosen = next(c for c in contexts["context"] if c["name"] == name)
    folder = file.parent / chosen["identity"]
    roots = (folder / "roots.pem").read_bytes()
    if stranger:
        return chosen["addresses"][0], grpc.ssl_channel_credentials(root_certificates=roots)
    # Key and chain are one file, so that they change together. gRPC wants each of them by itself, and takes from a
    # PEM text what it is asked for.
    identity = (folder / "identity.pem").read_bytes()
    return chosen["addresses"][0], grpc.ssl_channel_credentials(roots, identity, identity)


class Client:
    """Calls any method of any service by its name."""

    def __init__(self, address, tls, server_name=None):
        # The coordinator's certificate names the host of its `address`. Dialled by another one (through a tunnel, say),
        # it is known by the name that every coordinator has: coordinator.holdfast.internal.
        options = [("grpc.ssl_target_name_override", server_name)] if server_name else []
        self.channel = grpc.secure_channel(address, tls, options)
        self.described = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = DescriptorPool(self.described)

    def services(self):
        """Every service with its methods, as the coordinator describes them."""
        for name in self.described.get_services():
            for method in self.pool.FindServiceByName(name).methods:
                yield method

    def call(self, name, **fields):
        """Calls `package.Service/Method`: a message for a plain call, an iterator of messages for a stream."""
        service, method_name = name.split("/")
        method = self.pool.FindServiceByName(service).methods_by_name[method_name]
        request = message_factory.GetMessageClass(method.input_type)(**fields)
        reply = message_factory.GetMessageClass(method.output_type)
        kind = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        seconds = WATCH_SECONDS if method.server_streaming else CALL_SECONDS
        return kind(f"/{name}", type(request).SerializeToString, reply.FromString)(request, timeout=seconds)

    def refusal(self, error):
        """The refusal in a failed call: a reason by its number, why, and the commands to type next."""
        status = rpc_status.from_call(error)
        for detail in status.details if status else []:
            if detail.TypeName() == "holdfast.v1.Refusal":
                # A stranger is told why, but not how messages look: what is left then is the status' own text.
                try:
                    refusal = message_factory.GetMessageClass(self.pool.FindMessageTypeByName(detail.TypeName()))()
                except (grpc.RpcError, KeyError):
                    return {"what": error.details()}
                detail.Unpack(refusal)
                return as_json(refusal)
        return None


def as_json(message):
    """A message as the JSON that belongs to it, fields named as in the contract."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def say(data):
    print(json.dumps(data), flush=True)


def carry_out(client, args):
    if args.what == "services":
        for method in client.services():
            stream = "stream " if method.server_streaming else ""
            takes, gives = method.input_type.full_name, method.output_type.full_name
            say({"call": f"{method.containing_service.full_name}/{method.name}", "takes": takes, "gives": stream + gives})
    elif args.what == "health":
        reply = client.call("grpc.health.v1.Health/Check", service="")
        say({"status": reply.DESCRIPTOR.fields_by_name["status"].enum_type.values_by_number[reply.status].name})
    elif args.what == "hosts":
        for host in client.call("holdfast.v1.Fleet/Hosts").hosts:
            say(as_json(host))
    elif args.what == "apps":
        for app in client.call("holdfast.v1.Apps/List").apps:
            say(as_json(app))
    elif args.what == "failover":
        reply = client.call("holdfast.v1.Operations/Failover", app=args.app, to_region=args.to, reason=args.reason)
        say(as_json(reply))
    elif args.what == "watch":
        # Everything so far comes first, then everything as it happens; the stream ends with the operation.
        for event in client.call("holdfast.v1.Operations/Watch", number=args.number):
            say({"text": event.text, "state": event.operation.state, "operation": event.operation.number})


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--contexts-file", type=Path, default=Path.home() / ".config/holdfast/contexts.toml")
    words.add_argument("--context", help="the current one unless said otherwise")
    words.add_argument("--address", help="another way to the coordinator than the context's: HOST:PORT")
    words.add_argument("--server-name", help="the name to look for in the certificate, if it is not the one dialled")
    words.add_argument("--no-certificate", action="store_true", help="come as a stranger")
    what = words.add_subparsers(dest="what", required=True)
    for plain in ["services", "health", "hosts", "apps"]:
        what.add_parser(plain)
    failover = what.add_parser("failover")
    failover.add_argument("app")
    failover.add_argument("--to", default="", help="the region; left out, the only one that could take over")
    failover.add_argument("--reason", default="")
    what.add_parser("watch").add_argument("number", type=int)
    args = words.parse_args()

    address, tls = context(args.contexts_file, args.context, args.no_certificate)
    client = Client(args.address or address, tls, args.server_name)
    try:
        carry_out(client, args)
    except grpc.RpcError as error:
        refusal = client.refusal(error)
        say({"code": error.code().name, "details": error.details(), "refusal": refusal})
        sys.exit(7 if refusal else 1)


if __name__ == "__main__":
    main()
