"""A gRPC client in another language: learns the service by reflection alone, orders a call, watches it, ends it.

usage: grpc_client.py HOST:PORT SIP_PORT RTMP_URL
"""

import queue
import sys
import threading
import time

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

address, sip_port, rtmp_url = sys.argv[1], int(sys.argv[2]), sys.argv[3]
channel = grpc.insecure_channel(address)
grpc.channel_ready_future(channel).result(timeout=10)

# Health.
health = health_pb2_grpc.HealthStub(channel)
for name in ["", "sipcast.v1.Broadcasts"]:
    answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING, (name, answer)

# Reflection: no .proto file is at hand.
reflected = ProtoReflectionDescriptorDatabase(channel)
assert "sipcast.v1.Broadcasts" in reflected.get_services(), reflected.get_services()
pool = descriptor_pool.DescriptorPool(reflected)
service = pool.FindServiceByName("sipcast.v1.Broadcasts")


def message(name, **fields):
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sipcast.v1." + name))(**fields)


def method(name, metadata=None):
    described = service.methods_by_name[name]
    request = message_factory.GetMessageClass(described.input_type)
    answer = message_factory.GetMessageClass(described.output_type)
    kind = channel.unary_stream if described.server_streaming else channel.unary_unary
    call = kind(
        f"/sipcast.v1.Broadcasts/{name}",
        request_serializer=request.SerializeToString,
        response_deserializer=answer.FromString,
    )
    return lambda timeout=20, **fields: call(request(**fields), timeout=timeout)


start, get, list_, watch = method("Start"), method("Get"), method("List"), method("Watch")
send_dtmf, terminate = method("SendDtmf"), method("Terminate")
add_target, remove_target = method("AddTarget"), method("RemoveTarget")
list_targets, set_muted = method("ListTargets"), method("SetMuted")
get_ladder, get_conformity = method("GetLadder"), method("GetConformity")
list_accounts = method("ListAccounts")


def refused(code, field, call, **fields):
    """The call is refused with this code, and the details name the field."""
    try:
        call(**fields)
    except grpc.RpcError as error:
        assert error.code() == code, error
        assert "s3cret" not in str(error), error
        if field is None:
            return
        for detail in rpc_status.from_call(error).details:
            bad = error_details_pb2.BadRequest()
            if detail.Unpack(bad):
                assert [violation.field for violation in bad.field_violations] == [field], bad
                return
        raise AssertionError(f"no BadRequest details: {error}")
    raise AssertionError(f"taken: {fields}")


def order(**changes):
    fields = dict(
        call_id="call",
        callee="test-picture",
        sip_login="caster",
        sip_password="s3cret",
        sip_domain="127.0.0.1",
        sip_port=sip_port,
        app_key="grpc",
        targets=[message("TargetOrder", rtmp_url=rtmp_url, rtmp_stream="one")],
    )
    fields.update(changes)
    return message("BroadcastOrder", **fields)


code = grpc.StatusCode
refused(code.INVALID_ARGUMENT, "order", start)
refused(code.INVALID_ARGUMENT, "sip_port", start, order=order(sip_port=0))
refused(code.INVALID_ARGUMENT, "sip_port", start, order=order(sip_port=70000))
bad = message("TargetOrder", rtmp_url="http://127.0.0.1/live/key")
refused(code.INVALID_ARGUMENT, "targets[0].rtmp_url", start, order=order(targets=[bad]))
refused(code.INVALID_ARGUMENT, "idempotency_key", start, order=order(), idempotency_key="a b")
refused(code.INVALID_ARGUMENT, "limit", list_, limit=0)
for missing in (get, terminate, list_targets):
    refused(code.NOT_FOUND, None, missing, call_id="nobody")
refused(code.NOT_FOUND, None, lambda **fields: next(watch(**fields)), call_id="nobody")
refused(code.NOT_FOUND, None, remove_target, call_id="nobody", target_id="1")
too_large = order(app_key="x" * 100_000)
refused(code.OUT_OF_RANGE, None, start, order=too_large)
assert list(list_().broadcasts) == []
assert list(list_accounts().accounts) == []

# One who watches everything, from before the order.
seen, all_of_it, news = [], watch(timeout=120), queue.Queue()


def read():
    try:
        for answer in all_of_it:
            news.put(answer)
    except grpc.RpcError as error:
        assert error.code() == code.CANCELLED, error


def wait_for(holds):
    """Reads what the one who watches everything is told until an event for which `holds` is true."""
    while True:
        seen.append(news.get(timeout=60))
        if holds(seen[-1].event):
            return seen[-1].event


reader = threading.Thread(target=read)
reader.start()
seen.append(news.get(timeout=10))
assert seen[0].snapshot.complete and not seen[0].snapshot.broadcasts

first = start(order=order(), idempotency_key="k").broadcast
again = start(order=order(), idempotency_key="k").broadcast
assert (first.call_id, first.broadcast) == (again.call_id, again.broadcast) == ("call", first.broadcast)
refused(code.INVALID_ARGUMENT, "idempotency_key", start, order=order(app_key="other"), idempotency_key="k")
refused(code.ALREADY_EXISTS, "call_id", start, order=order())

# One who watches this call: a snapshot, then events.
watching = watch(call_id="call", timeout=60)
snapshot = next(watching).snapshot
assert [broadcast.call_id for broadcast in snapshot.broadcasts] == ["call"]
last_id = snapshot.last_event_id

wait_for(lambda event: event.WhichOneof("kind") == "media_started")
shown = get(call_id="call").broadcast
assert (shown.status, shown.targets[0].state) == ("ESTABLISHED", 2), shown
picture = (shown.width, shown.height)
assert min(picture) > 0

# Targets come and go.
added = add_target(call_id="call", target=message("TargetOrder", rtmp_url=rtmp_url + "/two", muted=True)).target
assert added.muted
duplicate = message("TargetOrder", rtmp_url=rtmp_url, rtmp_stream="two")
refused(code.ALREADY_EXISTS, "rtmp_url", add_target, call_id="call", target=duplicate)
for answer in watching:
    assert answer.event.id > last_id, answer
    last_id = answer.event.id
    target = answer.event.target
    if target.target_id == added.target_id and target.state == 2:
        break
assert not set_muted(call_id="call", target_id=added.target_id, muted=False).target.muted
assert {target.state for target in list_targets(call_id="call").targets} == {2}, "both publish"
# Figures come once a second.
for _ in range(100):
    conformity = get_conformity(call_id="call", target_id=added.target_id)
    if conformity.measured.width:
        break
    time.sleep(0.1)
assert (conformity.measured.width, conformity.measured.height) == picture, conformity
refused(code.NOT_FOUND, None, get_conformity, call_id="call", target_id="999")
ladder = get_ladder(call_id="call")
assert ladder.messages[0].start_line.startswith("INVITE ") and ladder.messages[0].direction == "out", ladder
refused(code.NOT_FOUND, None, get_ladder, call_id="none")
remove_target(call_id="call", target_id=added.target_id)
refused(code.NOT_FOUND, None, remove_target, call_id="call", target_id=added.target_id)
send_dtmf(call_id="call", dtmf="4711#")
refused(code.INVALID_ARGUMENT, "dtmf", send_dtmf, call_id="call", dtmf="x")

# One who was away goes on behind the last event that was seen.
watching.cancel()
terminate(call_id="call")
rest = list(watch(call_id="call", after_event_id=last_id, timeout=60))
assert all(answer.WhichOneof("kind") == "event" for answer in rest)
assert [answer.event.id for answer in rest] == sorted(answer.event.id for answer in rest)
kinds = [answer.event.WhichOneof("kind") for answer in rest]
assert kinds[-1] == "ended" and "dtmf" in kinds and "target_muted" in kinds, kinds
ended = rest[-1].event.ended
assert ended.status == "FINISH" and ended.video_packets > 0 and ended.bytes_sent > 0, ended
refused(code.NOT_FOUND, None, terminate, call_id="call")
over = list(watch(call_id="call", timeout=10))
assert len(over) == 1 and over[0].snapshot.broadcasts[0].status == "FINISH", "nothing follows"

wait_for(lambda event: event.WhichOneof("kind") == "ended")
all_of_it.cancel()
reader.join(10)
told = {answer.event.WhichOneof("kind") for answer in seen[1:]}
missing = {"ordered", "status", "media_agreed", "media_started", "picture_size", "target", "ended"} - told
assert not missing, (missing, told)
assert not any("s3cret" in str(answer) for answer in seen + rest)
print("passed", picture)
