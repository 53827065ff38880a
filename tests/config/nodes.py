"""Several nodes of Gatehouse behind nginx, with the upstream from docs/deployment.md."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from tests.apikeys.gateway.servers import ROOT, free_port, gatehouse, nginx_command, require_gateway, running


@contextmanager
def node(directory, *arguments, **options):
    directory.mkdir(parents=True, exist_ok=True)
    with gatehouse(directory, *arguments, **{"DEFAULT_RATE_LIMIT_LIMIT": "1000000000", **options}) as process:
        yield process


def nginx_configuration(addresses, listen):
    """An nginx configuration with the upstream from docs/deployment.md for these nodes. It also passes on /authz/."""
    text = (ROOT / "docs/deployment.md").read_text()
    upstream = re.search(r"```nginx\n(\s+upstream gatehouse.*?)```", text, flags=re.DOTALL)[1]
    example = re.search(r"^\s*server node-1:8000 (.*?;\n)\s*server node-2:8000 \1", upstream, re.MULTILINE)
    servers = "".join(f"server {address} {example[1]}" for address in addresses)
    return f"""{upstream.replace(example[0], servers)}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://gatehouse;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            add_header X-Node $upstream_addr always;
        }}
    }}"""


@contextmanager
def proxy(directory, *nodes, host="127.0.0.1"):
    require_gateway("nginx")
    port = free_port()
    directory.mkdir()
    # The documented upstream has two servers, so a single node is listed twice.
    twice = nodes if len(nodes) > 1 else nodes * 2
    text = nginx_configuration([f"{each.host}:{each.port}" for each in twice], f"{host}:{port}")
    with running(nginx_command(text, directory), directory / "log", port=port, host=host) as process:
        yield process


@contextmanager
def nodes_behind_nginx(directory, machines, *, host="127.0.0.1", **options):
    """Start one node on each machine at once. Yield (nginx, nodes)."""
    with ExitStack() as stack, ThreadPoolExecutor(len(machines)) as starters:
        places = [directory / f"node-{number}" for number in range(1, len(machines) + 1)]
        servers = [node(place, machine=machine, **options) for place, machine in zip(places, machines, strict=True)]
        nodes = list(starters.map(stack.enter_context, servers))
        yield stack.enter_context(proxy(directory / "nginx", *nodes, host=host)), nodes
        for each in nodes:
            each.terminate()  # so that they all end at once
