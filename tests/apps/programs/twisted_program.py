"""Twisted on its asyncio reactor: servers and clients, timers, threads, a child process. Prints one line of JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import warnings
from typing import Any

from twisted.internet import asyncioreactor

asyncioreactor.install()

from twisted.internet import defer, endpoints, protocol, reactor, task, threads, utils  # noqa: E402
from twisted.protocols import basic  # noqa: E402
from twisted.web import client, resource, server  # noqa: E402


class Upper(basic.LineReceiver):
    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line.upper())


class Asks(basic.LineReceiver):
    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.finished: defer.Deferred[list[bytes]] = defer.Deferred()

    def connectionMade(self) -> None:
        for number in range(100):
            self.sendLine(b"line %d" % number)

    def lineReceived(self, line: bytes) -> None:
        self.answers.append(line)
        if len(self.answers) == 100:
            self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        self.finished.callback(self.answers)


class Page(resource.Resource):
    isLeaf = True

    def render_GET(self, request: server.Request) -> bytes:
        return b"a page"


async def main() -> dict[str, Any]:
    seen: dict[str, Any] = {"loop": type(asyncio.get_running_loop()).__module__}
    factory = protocol.Factory.forProtocol(Upper)
    port = await endpoints.TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    endpoint = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
    asking = [await endpoints.connectProtocol(endpoint, Asks()) for _ in range(10)]
    answers = [await each.finished for each in asking]
    seen["lines"] = answers == [[b"LINE %d" % number for number in range(100)]] * 10
    await port.stopListening()

    site = await endpoints.TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(server.Site(Page()))
    pool = client.HTTPConnectionPool(reactor)
    agent = client.Agent(reactor, pool=pool)
    response = await agent.request(b"GET", b"http://127.0.0.1:%d/" % site.getHost().port)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Twisted's, of its own transport
        seen["page"] = (await client.readBody(response)).decode()
    await pool.closeCachedConnections()
    await site.stopListening()

    seen["later"] = await task.deferLater(reactor, 0.01, lambda: "later")
    looping = task.LoopingCall(lambda: looping.stop() if looping.running and next(left) == 0 else None)
    left = iter(range(4, -1, -1))
    await looping.start(0.001)
    seen["thread"] = await threads.deferToThread(sum, range(10))
    seen["child"] = (
        (await utils.getProcessOutput(sys.executable, ["-c", "print('a child')"])).decode().strip()
    )
    seen["future"] = await defer.Deferred.fromFuture(asyncio.ensure_future(asyncio.sleep(0, "from asyncio")))
    return seen


def finish(result: Any) -> None:
    print(json.dumps(result) if isinstance(result, dict) else result)
    reactor.stop()


reactor.callLater(0, lambda: defer.ensureDeferred(main()).addBoth(finish))
reactor.run()
