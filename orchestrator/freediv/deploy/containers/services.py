"""What runs in the containers of a role's folder: one description, for Compose, for engines and for Kubernetes."""

from __future__ import annotations

from dataclasses import dataclass

from ...cluster.configuration import OwnerConfig, PartyConfig

IMAGE, GATEWAY_IMAGE = "freediv", "freediv-gateway"
USER = 10001
"""User and group id in the images."""
FOLDER = "/deployment"
"""Where a role's folder is in its containers."""
HEALTH_INTERVAL_S, HEALTH_TIMEOUT_S = 15, 30
"""A check takes 0.6 s of a core, and much longer on a host that is busy computing."""
WAIT_S = 600
"""How long owners wait for parties that are started later."""
GATEWAY_MEMORY_BYTES = 1 << 30
"""For as many connections as strangers can open at its doors (`gateway.MOST`)."""

DOOR_PORT = 8080
"""Of the data owner's door, in its container and on its host."""

PortNumber = int | str
"""A number, or a variable that Compose puts a number in."""


@dataclass(frozen=True)
class Service:
    """One container.

    Attributes:
        purpose: for whoever reads the file.
        ports: published on the host, under the same numbers.
        local: whether they are published on the host's loopback alone.
        profile: in which Compose starts it; empty: always.
        beside: the service whose network namespace it shares; None: its own.
        writes: whether it may write into the role's folder.
        health: a command that succeeds while it is well.
        stays: whether it is started again when it ends; one that does not stay ends with status 0 after its work.
        memory_bytes, cpus: the most that it may take.
    """

    name: str
    purpose: str
    image: str
    command: tuple[str, ...] = ()
    ports: tuple[PortNumber, ...] = ()
    local: bool = False
    profile: str = ""
    beside: str | None = None
    writes: bool = False
    health: tuple[str, ...] = ()
    stays: bool = True
    memory_bytes: int = 4 << 30
    cpus: PortNumber = 1


@dataclass(frozen=True)
class PartyPorts:
    """The ports that a party publishes: `doors` are those of its link."""

    grpc: PortNumber
    doors: tuple[PortNumber, ...]
    metrics: tuple[PortNumber, ...]


def party_ports(config: PartyConfig) -> PartyPorts:
    """The ports that others reach a party at."""
    me = config.me
    if not config.gateway:
        return PartyPorts(me.grpc_port, (me.link_port,), (config.metrics_port,))
    doors = tuple(me.door(rank) for rank in range(config.world_size) if rank != config.rank)
    return PartyPorts(me.grpc_port, doors, (config.metrics_port, me.gateway_metrics_port(config.world_size)))


def services(config: PartyConfig | OwnerConfig) -> tuple[Service, ...]:
    """The containers of a role, in the order in which they start."""
    if isinstance(config, PartyConfig):
        return party_services(party_ports(config), gateway=config.gateway, threads=config.threads)
    return (model_owner_service(),) if config.role == "model-owner" else data_owner_services()


def party_services(ports: PartyPorts, *, gateway: bool, threads: PortNumber) -> tuple[Service, ...]:
    """A party and, where there is one, its gateway: the network namespace is the gateway's, which seldom restarts."""
    published = (ports.grpc, *ports.doors, *ports.metrics)
    party = Service(
        name="party",
        purpose="One SPU party. Healthy: it answers, and is linked to the other parties.",
        image=IMAGE,
        command=("party", "--config", f"{FOLDER}/config.yaml"),
        ports=() if gateway else published,
        beside="gateway" if gateway else None,
        writes=True,
        health=("freediv", "health", FOLDER),
        cpus=threads,
    )
    if not gateway:
        return (party,)
    door = Service(
        name="gateway",
        purpose="The link's way in and out: mutual TLS 1.3, and at each peer's door only that peer's certificate.",
        image=GATEWAY_IMAGE,
        ports=published,
        health=("bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{ports.metrics[-1]}"),
        memory_bytes=GATEWAY_MEMORY_BYTES,
    )
    return (door, party)


def model_owner_service(model: str = "${FREEDIV_MODEL:-demo}") -> Service:
    """Loads a model and ends."""
    return Service(
        name="model-owner",
        purpose=_MODEL_OWNER,
        image=IMAGE,
        command=("load", FOLDER, model, "--wait", str(WAIT_S)),
        writes=True,  # the key of an upload, until it is over
        stays=False,
    )


def data_owner_services() -> tuple[Service, ...]:
    """The door, and a run on a file that is asked for by its profile."""
    return door_service(), _file_service()


def door_service(published: str = f"127.0.0.1:{DOOR_PORT}", *options: str) -> Service:
    """Answers programs and people in HTTP.

    Args:
        published: the one address at which others reach it.
        options: of `freediv serve`.
    """
    ask = f"c = HTTPConnection('127.0.0.1', {DOOR_PORT}, timeout=20); c.request('GET', '/health')"
    health = f"from http.client import HTTPConnection; {ask}; exit(c.getresponse().status != 200)"
    return Service(
        name="data-owner",
        purpose=_DOOR,
        image=IMAGE,
        command=("serve", FOLDER, "--listen", f"0.0.0.0:{DOOR_PORT}", "--published", published, *options),
        ports=(DOOR_PORT,),
        local=True,
        writes=True,  # the model's public part, so that it is fetched once
        health=("python", "-c", health),
    )


def _file_service() -> Service:
    files = ("--file", f"{FOLDER}/sentences.txt", "--output", f"{FOLDER}/predictions.json")
    return Service(
        name="data-owner-file",
        purpose=_FILE,
        image=IMAGE,
        command=("infer", FOLDER, *files, "--wait", str(WAIT_S)),
        writes=True,
        profile="file",
        stays=False,
    )


_MODEL_OWNER = f"""\
Shares a model with the parties, once they are up, and ends. For a model of your own, put its directory into this
folder as `model`, readable by the container's user, and set FREEDIV_MODEL={FOLDER}/model."""
_DOOR = f"""\
The data owner's door: http://127.0.0.1:{DOOR_PORT} on this host, for programs and people. Healthy: a text would be
answered."""
_FILE = """\
Not started unless it is asked for: `docker compose run --rm data-owner-file`. Has the sentences of sentences.txt in
this folder classified, a sentence a line, writes predictions.json beside it, and ends. Waits until the parties serve a
model."""
