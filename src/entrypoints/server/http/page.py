"""A page for people: the latest flow runs. No scripts, nothing to install."""

from html import escape
from typing import Any, Final

from prefect.agent.entrypoints.server.storage.database import Tx

SHOWN: Final = 50

_COLOURS: Final = {
    "Pending": "#7ebdff", "Scheduled": "#ffab00", "Submitted": "#ffdf5d", "Queued": "#ffea7f", "Running": "#3d67ff",
    "Success": "#28a745", "Failed": "#eb0000", "Cancelling": "#e8e8e8", "Cancelled": "#bdbdbd", "Retrying": "#f66a0a",
}  # fmt: skip

_LATEST: Final = (
    "SELECT r.id, substr(r.name, 1, 200) AS name, r.state, substr(r.state_message, 1, 200) AS state_message, "
    "r.scheduled_start_time, r.start_time, r.end_time, substr(f.name, 1, 200) AS flow "
    f"FROM flow_run r JOIN flow f ON f.id = r.flow_id ORDER BY r.created DESC LIMIT {SHOWN}"
)

_HEAD: Final = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="5"><title>Flow runs</title><style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .35rem .6rem; vertical-align: top }
tr:nth-child(even) { background: #8881 } .dot { display: inline-block; width: .7em; height: .7em; border-radius: 50%;
margin-right: .4em } small { color: #888 }
@media (prefers-color-scheme: dark) { body { background: #15171a; color: #dde } }
</style><h1>Flow runs</h1>"""


def page(tx: Tx) -> str:
    """The whole page as HTML."""
    rows = tx.all(_LATEST)
    if not rows:
        return f"{_HEAD}<p>No flow runs yet. Register a flow with <code>prefect register</code>, then run it.</p>"
    head = "".join(f"<th scope=col>{name}" for name in ("Flow run", "Flow", "State", "Scheduled", "Started", "Ended"))
    return f"{_HEAD}<table><thead><tr>{head}<tbody>{''.join(map(_row, rows))}</table>"


def _row(row: dict[str, Any]) -> str:
    dot = f'<span class=dot style="background:{_COLOURS.get(row["state"], "#999")}"></span>'
    state = f"{dot}{escape(row['state'])}<br><small>{escape(row['state_message'] or '')}</small>"
    name = f"{escape(row['name'] or '')}<br><small>{row['id']}</small>"
    times = [
        (row[column] or "")[:19].replace("T", " ") for column in ("scheduled_start_time", "start_time", "end_time")
    ]
    return "<tr>" + "".join(f"<td>{cell}" for cell in (name, escape(row["flow"] or ""), state, *times))
