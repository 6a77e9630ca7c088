"""``prefect server create-key``, ``list-keys``, ``revoke-key``, ``unlock``, with or without a running server."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Final

import click

from prefect.agent.entrypoints.server.cli.failures import DATABASE, CommandRefused, explained
from prefect.agent.entrypoints.server.storage.scopes import ADMIN, SCOPES
from prefect.agent.entrypoints.settings.values import at_home

_LIST: Final = "SELECT id, created, expires_at, scope, name FROM auth_api_key ORDER BY created"


@click.command()
@DATABASE
@click.option("--name", default="key", show_default=True, help="Name of the key, to recognise it in list-keys.")
@click.option("--expires", type=click.DateTime(), help="UTC time at which the key expires. Default: never.")
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default=ADMIN,
    show_default=True,
    help="What the key permits: runner is for agents and flow runs, admin permits everything.",
)
@explained
def create_key(database: Path, name: str, expires: datetime | None, scope: str) -> None:
    """Make an API key and print it, once: only its hash is stored.

    After the first key, every request needs a key. A running server applies this at once. The database is created if it
    is missing.

    \b
    Examples:
        $ prefect server create-key --name agents --scope runner > key.txt
        $ prefect server create-key --name ci --expires 2030-01-31
    """
    from prefect.agent.entrypoints.server.storage.keys import add_key, check_private, opened_beside  # noqa: PLC0415 - extra

    until = expires.replace(tzinfo=timezone.utc).isoformat(timespec="microseconds") if expires else None
    path = at_home(str(database), "--database")
    with opened_beside(path) as connection:
        check_private(path.resolve())
        tenant = connection.execute("SELECT id FROM tenant ORDER BY created LIMIT 1").fetchone()
        if tenant is None:
            raise CommandRefused("there is no tenant to make a key for; create one first")
        _, key = add_key(connection, tenant[0], name, expires_at=until, scope=scope)
        click.echo(key)  # before it is stored: a key that cannot be printed is none
    click.echo(
        "Clients use the key in PREFECT__CLOUD__API_KEY; agents read it from a file: --token-file PATH", err=True
    )


@click.command()
@DATABASE
@explained
def list_keys(database: Path) -> None:
    """List the API keys by id and name; the keys themselves are not stored.

    \b
    Examples:
        $ prefect server list-keys
    """
    from prefect.agent.entrypoints.server.storage.keys import opened_beside  # noqa: PLC0415 - extra "server"

    with opened_beside(at_home(str(database), "--database"), must_exist=True) as connection:
        rows = connection.execute(_LIST).fetchall()
    for row_id, created, expires, scope, name in rows:
        click.echo(f"{row_id}  created {created[:19]}  expires {(expires or 'never')[:19]}  {scope}  {name}")
    if not rows:
        click.echo("There are no API keys; make one with prefect server create-key", err=True)


@click.command()
@DATABASE
@click.argument("key_id", metavar="ID")
@explained
def revoke_key(database: Path, key_id: str) -> None:
    """Revoke the API key with this ID, and all keys made through it. list-keys shows the IDs.

    \b
    Examples:
        $ prefect server revoke-key 01a2235d-c77d-7ce2-9845-26c5ca76a08d
    """
    from prefect.agent.entrypoints.server.storage.keys import opened_beside, revoke  # noqa: PLC0415 - extra "server"

    with opened_beside(at_home(str(database), "--database"), must_exist=True) as connection:
        gone = revoke(connection, key_id)
        left = connection.execute("SELECT count(*) FROM auth_api_key").fetchone()[0]
    if not gone:
        raise CommandRefused(f"there is no API key with the id {key_id}: see prefect server list-keys")
    click.echo(f"Revoked {key_id}")
    if not left:
        click.echo(
            "No key is left in the file, and requests still need one; make one with prefect server create-key", err=True
        )


@click.command()
@DATABASE
@explained
def unlock(database: Path) -> None:
    """Stop requiring an API key: everyone who reaches the Cloud may use it and run code on its agents.

    Existing keys stay; the next key that is made locks the Cloud again. A running server applies this at once, unless
    it listens beyond this machine or was started with --api-key.

    \b
    Examples:
        $ prefect server unlock
    """
    from prefect.agent.entrypoints.server.storage import keys  # noqa: PLC0415 - extra "server"

    with keys.opened_beside(at_home(str(database), "--database"), must_exist=True) as connection:
        keys.unlock(connection)
    click.echo("Requests need no API key from now on")


COMMANDS = (create_key, list_keys, revoke_key, unlock)
