"""``prefect server``: the embedded Cloud as a command."""

import sys
from pathlib import Path

import click


@click.group()
def server() -> None:
    """An embedded Prefect Cloud for one team or one machine: a single process, a single file."""


@server.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=4200, show_default=True, help="Port to listen at; 0 takes a free one.")
@click.option(
    "--database",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("~/.prefect-agent/cloud.db"),
    show_default=True,
    help="SQLite file; made if it is not there.",
)
@click.option("--api-key", "keys", multiple=True, help="Accept only this API key. May be given several times.")
def start(host: str, port: int, database: Path, keys: tuple[str, ...]) -> None:
    """Serve the GraphQL API of Prefect Server until SIGINT or SIGTERM."""
    try:
        from prefect.agent.entrypoints.server.database import Database, DatabaseProblem  # noqa: PLC0415
        from prefect.agent.entrypoints.server.serving import listen, make_server  # noqa: PLC0415 - extra "server"
    except ModuleNotFoundError as missing:
        click.echo(f"{missing.name} is not installed: pip install 'prefect-agent[server]'", err=True)
        sys.exit(78)
    try:
        listening = listen(host, port)
    except OSError as problem:
        click.echo(f"cannot listen at {host}:{port}: {problem.strerror}; choose another --port", err=True)
        sys.exit(78)
    path = database.expanduser()
    try:
        opened = Database(path)
    except DatabaseProblem as problem:
        click.echo(str(problem), err=True)
        sys.exit(78)
    address = f"http://{host}:{listening.getsockname()[1]}"
    click.echo(f"Prefect API at {address} (GraphQL; POST), flow runs in {path}")
    click.echo(f"Point clients at it with PREFECT__BACKEND=server PREFECT__SERVER__ENDPOINT={address}")
    if host not in {"127.0.0.1", "localhost", "::1"} and not keys:
        click.echo(
            "Anyone who reaches this address can run code on your agents: give --api-key, or a firewall", err=True
        )
    try:
        make_server(opened, frozenset(keys)).run(sockets=[listening])
    finally:
        opened.close()
