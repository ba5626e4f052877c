"""Set-ups of several servers: a cluster of three nodes, and a master with a replica and three sentinels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from tests.servers import Flavour, RedisServer

BOUND = 30.0


def until(condition: Callable[[], bool], what: str) -> None:
    """Waits, with a bound."""
    end = time.monotonic() + BOUND
    while time.monotonic() < end:
        try:
            if condition():
                return
        except RedisError:
            pass
        time.sleep(0.05)
    raise TimeoutError(what)


@dataclass(frozen=True)
class Cluster:
    """Three masters that share the slots."""

    nodes: tuple[RedisServer, ...]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{node.host}:{node.port}" for node in self.nodes)

    def clients(self) -> list[Any]:
        return [Redis(host=node.host, port=node.port, protocol=2) for node in self.nodes]

    def move(self, slot: int, to: int) -> None:
        """Moves a slot and what is in it to another node, as an operator would."""
        clients = self.clients()
        ids = [client.execute_command("CLUSTER", "MYID").decode() for client in clients]
        [source] = [
            index
            for index, client in enumerate(clients)
            if any(
                first <= slot <= last and master[2].decode() == ids[index]
                for first, last, master, *_ in client.execute_command("CLUSTER", "SLOTS")
            )
        ]
        if source == to:
            return
        clients[to].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        clients[source].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to])
        target = self.nodes[to]
        while keys := clients[source].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            clients[source].execute_command("MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *keys)
        for index in (to, source, *(each for each in range(3) if each not in (to, source))):
            clients[index].execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[to])


@contextmanager
def cluster(flavour: Flavour) -> Iterator[Cluster]:
    """A cluster that has come up."""
    with ExitStack() as stack:
        options = {"cluster-enabled": "yes", "cluster-node-timeout": "2000"}
        nodes = []
        for _ in range(3):
            server = RedisServer(flavour, options=options)
            # The bus listens at the port and 10,000: it has to be below 65,536, which these always are.
            nodes.append(stack.enter_context(server))
        made = Cluster(tuple(nodes))
        clients = made.clients()
        for client, (first, last) in zip(clients, ((0, 5460), (5461, 10922), (10923, 16383)), strict=True):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        for index, node in enumerate(nodes):
            clients[index].execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            clients[0].execute_command("CLUSTER", "MEET", node.host, node.port)

        def up() -> bool:
            infos = [client.execute_command("CLUSTER", "INFO") for client in clients]
            texts = [info.decode() if isinstance(info, bytes) else str(info) for info in infos]
            states = [text.partition("cluster_state")[2][:8] for text in texts]
            known = [text.partition("cluster_known_nodes")[2][:6] for text in texts]
            return all("ok" in state for state in states) and all("3" in count for count in known)

        until(up, "the cluster did not come up")
        for client in clients:
            client.close()
        yield made


@dataclass(frozen=True)
class Watched:
    """A master and a replica, watched by sentinels."""

    master: RedisServer
    replica: RedisServer
    sentinels: tuple[RedisServer, ...]

    @property
    def url(self) -> str:
        return "redis+sentinel://" + ",".join(f"{one.host}:{one.port}" for one in self.sentinels) + "/main"


class _Sentinel(RedisServer):
    """A server in sentinel mode: it wants a file that it may rewrite."""

    def __init__(self, flavour: Flavour, master: RedisServer) -> None:
        super().__init__(flavour)
        self._master = master

    def _command(self) -> list[object]:  # type: ignore[override]
        path = self.data / "sentinel.conf"
        if not path.exists():
            path.write_text(
                f"bind {self.host}\nport {self.port}\ndir {self.data}\n"
                f"sentinel monitor main {self._master.host} {self._master.port} 2\n"
                "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 5000\n"
            )
            path.chmod(0o666)
        return [self._binary(), path, "--sentinel"]


@contextmanager
def watched(flavour: Flavour) -> Iterator[Watched]:
    """A master whose replica is in step, and three sentinels that know each other."""
    with ExitStack() as stack:
        master = stack.enter_context(RedisServer(flavour, options={"repl-diskless-sync-delay": "0"}))
        replica = stack.enter_context(RedisServer(flavour, options={"replicaof": f"{master.host} {master.port}"}))
        sentinels = tuple(stack.enter_context(_Sentinel(flavour, master)) for _ in range(3))
        with Redis(host=replica.host, port=replica.port, protocol=2) as client:
            until(lambda: client.info("replication").get("master_link_status") == "up", "the replica is not in step")

        def agreed() -> bool:
            for sentinel in sentinels:
                client: Any
                with Redis(host=sentinel.host, port=sentinel.port, protocol=2) as client:
                    known = client.execute_command("SENTINEL", "CKQUORUM", "main")
                    others = client.execute_command("SENTINEL", "SENTINELS", "main")
                    replicas = client.execute_command("SENTINEL", "REPLICAS", "main")
                    if not known or len(others) < 2 or len(replicas) < 1:
                        return False
            return True

        until(agreed, "the sentinels do not know each other")
        yield Watched(master, replica, sentinels)
