// Reads /status.json every two seconds while the page is seen, and shows it. Names and messages are foreign texts.
import { bar, fill, make, setAttribute, setText, spark, time } from "./drawing.js";
import { since, span, uptime } from "./texts.js";

const EVERY = 2000;
const PATIENCE = 10000;
const MOST_SLOTS = 200;
const WHAT = {
  poll: "asks the Cloud for due flow runs", claim: "reserves one for this agent", create: "makes its unit",
  watch: "follows the units", sweep: "compares claims and units", report: "sends ends and logs",
};
const LONG = 200;
const RATES = [
  ["claimed", "Claimed"], ["started", "Started"], ["ended", "Ended"], ["problems", "Warnings, errors"],
  ["requests", "Requests"], ["request_s", "Latency"], ["create_s", "Create"], ["late_s", "Lateness"],
];
const TINTS = new Set(["starting", "retrying", "executing", "ended", "failed", "stopped", "dropped", "Success", "Failed", "Cancelled"]);
const EXPLAINED = new Set(["failed", "retrying", "dropped", "stopped"]);
const byId = (id) => document.getElementById(id);

function show(facts) {
  document.title = `${facts.agent.name}: ${facts.status}`;
  byId("main").hidden = false;
  showHead(facts);
  fill(byId("steps"), Object.entries(facts.steps), ([name]) => name, ([name, step]) => stepOf(name, step, facts.now));
  fill(byId("rates"), RATES, ([name]) => name, ([name, title]) => rateOf(name, title, facts.rates[name]));
  showSlots(facts);
  fill(byId("agent"), agentRows(facts), (row) => row.dataset.name, (row) => row);
  table("problems", facts.problems, (problem) => problem.kind, (problem) => problemRow(problem, facts.now));
  table("units", facts.units, (unit) => unit.name, (unit) => unitRow(unit, facts.now));
  table("runs", facts.runs, (run) => run.flow_run_id, (run) => runRow(run, facts.now));
  const more = facts.slots.alive - facts.units.length;
  byId("legend").hidden = !facts.runs.length;
  byId("units-more").hidden = more <= 0;
  setText(byId("units-more"), `and ${more} more`);
}

function showHead(facts) {
  const { agent } = facts;
  setText(byId("name"), agent.name);
  const failing = Object.entries(facts.steps).filter(([, step]) => step.problem).map(([name]) => name);
  const health = facts.busy && facts.healthy ? "busy: at its limit" : facts.status;
  setText(byId("health"), facts.healthy && failing.length ? `${health}, but ${failing.join(", ")} failed last` : health);
  setAttribute(byId("health"), "class", `pill tint-${facts.healthy && failing.length ? "retrying" : facts.status}`);
  const known = facts.latency_s === null ? "" : `, answered in ${span(facts.latency_s)}`;
  const latency = facts.steps.poll?.problem ? ", did not answer the last poll as it should" : known;
  setText(byId("about"), `${agent.type ?? "Agent"} ${agent.agent_version}, up ${uptime(agent.uptime_s)}. Cloud ${agent.cloud ?? "in memory"}${latency}.`);
  byId("reason").hidden = !facts.reason;
  setText(byId("reason"), facts.reason ?? "");
}

function stepOf(name, step, now) {
  const kind = step.problem ? "failing" : step.last_success ? "well" : "new";
  const when = step.last_success ? make("p", { class: "when" }, time(since(step.last_success, now))) : make("p", { class: "when", text: "not yet" });
  const item = make("li", { class: kind }, make("b", { text: name }), make("p", { class: "note what", text: WHAT[name] ?? "" }), when);
  if (step.problem) item.append(passage(`Fails: ${step.problem.startsWith(`${name}: `) ? step.problem.slice(name.length + 2) : step.problem}`, "wrong"));
  return item;
}

function rateOf(name, title, values) {
  const timed = name.endsWith("_s");
  const found = values.filter((value) => value !== null);
  const most = Math.max(...found, 0);
  const shown = timed ? span(found.at(-1)) : String(found.reduce((sum, value) => sum + value, 0));
  const unit = timed ? `mean of a minute, at most ${span(most)}` : `in the last hour, at most ${most} a minute`;
  const note = most > 0 || (timed && found.length) ? unit : "none in the last hour";
  const caption = make("figcaption", {}, make("span", { text: title }), make("b", { text: shown }));
  return make("figure", {}, caption, spark(values, `${title}: ${shown}, ${note}`, name), make("p", { text: note }));
}

function showSlots({ slots, reports_waiting: reports }) {
  const { limit, alive, starting, waiting } = slots;
  setText(byId("slots-text"), limit === null ? `${alive} alive; there is no limit.` : `${alive} of ${limit} in use.`);
  byId("slots").hidden = limit === null || limit > MOST_SLOTS;
  const kinds = limit === null || limit > MOST_SLOTS ? [] : [...Array(limit).keys()].map((at) => at < alive ? "alive" : at < alive + starting ? "starting" : "free");
  fill(byId("slots"), kinds.map((kind, at) => [kind, at]), ([, at]) => String(at), ([kind]) => make("i", { class: kind }));
  fill(byId("counts"), pairs({ "Being started": starting, "Not due yet": waiting, "With reports to send": reports }), (row) => row.dataset.name, (row) => row);
}

function pairs(values) {
  return Object.entries(values).flatMap(([name, value]) => [
    make("dt", { text: name, "data-name": `${name}?` }),
    value instanceof Node ? value : make("dd", { text: String(value ?? "-"), "data-name": name }),
  ]);
}

function agentRows({ agent, now }) {
  const labels = make("dd", { "data-name": "Labels" }, ...agent.labels.map((label) => make("span", { class: "label", text: label })));
  if (!agent.labels.length) labels.textContent = "none: only flow runs without labels are taken";
  const started = make("dd", { "data-name": "Started" }, time(since(agent.started_at, now)));
  return pairs({
    Cloud: agent.cloud ?? "in memory", Tenant: agent.tenant, Platform: agent.identity ?? agent.platform, Labels: labels,
    Version: `${agent.agent_version}, Python ${agent.python}`, Process: agent.pid, Started: started,
  });
}

function table(id, items, keyOf, build) {
  byId(`${id}-none`).hidden = items.length > 0;
  byId(id).closest("table").hidden = items.length === 0;
  fill(byId(id), items, keyOf, build);
}

// A text that may be long: then it scrolls by itself, also by keyboard.
function passage(text, kind) {
  return text.length > LONG ? make("p", { class: `${kind} long`, text, tabindex: "0" }) : make("p", { class: kind, text });
}

function cell(...children) {
  return make("td", {}, ...children);
}

function nameOf({ flow_run_id: id, flow_run_name: name, flow_name: flow }) {
  const found = make("td", { class: "named", title: id }, make("span", { text: name || id }));
  if (flow) found.append(make("p", { class: "note", text: flow }));
  return found;
}

function problemRow(problem, now) {
  const what = cell(passage(withoutRemedy(problem), "said"));
  if (problem.remedy) what.append(passage(`Do: ${problem.remedy}`, "remedy"));
  what.append(make("p", { class: "note", text: problem.kind }));
  return make("tr", {}, make("td", { class: "number", text: `${problem.count}` }), what, cell(time(since(problem.last_at, now))));
}

function withoutRemedy({ message, remedy }) {
  const end = ` Do: ${remedy}`;
  return message.trimEnd().endsWith(end) ? message.trimEnd().slice(0, -end.length) : message;
}

function unitRow(unit, now) {
  const status = cell(make("span", { class: `state tint-${unit.status}`, text: unit.status }));
  if (unit.waits_for) status.append(passage(unit.waits_for, "note"));
  const name = make("td", { class: "named extra" }, make("span", { text: unit.name }), make("p", { class: "note", text: unit.info }));
  return make("tr", {}, nameOf(unit), name, status, unit.since ? cell(time(since(unit.since, now))) : cell("-"));
}

function runRow(run, now) {
  const state = run.stage === "ended" && run.state ? run.state : run.stage;
  const shown = make("td", { title: run.message }, make("span", { class: `state tint-${TINTS.has(state) ? state : "other"}`, text: state }));
  if (EXPLAINED.has(run.stage)) shown.append(passage(run.message, "note"));
  const when = run.claimed_at ?? run.recovered_at ?? run.created_at ?? run.ended_at;
  return make("tr", {}, nameOf(run), shown, timeCell(run.phases), make("td", { class: "extra" }, when ? time(since(when, now)) : "-"));
}

function timeCell({ late_s: late, create_s: create, executing_s: executing }) {
  const parts = [["late", late], ["create", create], ["executing", executing]].filter(([, seconds]) => seconds !== undefined);
  if (!parts.length) return cell("-");
  const label = parts.map(([kind, seconds]) => `${kind} ${span(seconds)}`).join(", ");
  const total = parts.reduce((sum, [, seconds]) => sum + seconds, 0);
  return make("td", { title: label }, make("div", { class: "bar" }, bar(parts, label), make("span", { class: "number", text: span(total) })));
}

// --- reading, and the one thing that can be done ---

let timer;

async function read() {
  clearTimeout(timer);
  if (document.hidden) return;
  const facts = await asked();
  byId("connection").hidden = facts !== null;
  clearTimeout(timer);  // another reading may have ended meanwhile
  timer = setTimeout(read, EVERY);
  if (facts !== null) show(facts);
}

async function asked() {
  try {
    const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

async function poke() {
  try {
    const answer = await fetch("api/poke", { method: "POST", signal: AbortSignal.timeout(PATIENCE) });
    setText(byId("answer"), answer.ok ? "The agent polls now" : "Only from the agent's own machine");
  } catch {
    setText(byId("answer"), "The agent does not answer");
  }
  setTimeout(() => setText(byId("answer"), ""), 3000);
  read();
}

byId("poke").hidden = !/^(localhost|127\.[\d.]+|\[::1\])$/.test(location.hostname);
byId("poke").addEventListener("click", poke);
document.addEventListener("visibilitychange", read);
read();
