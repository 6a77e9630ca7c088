-- What a database of schema version 1 was made with; kept as it was, so that migrations are tested against the past.
CREATE TABLE tenant (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  name TEXT,
  slug TEXT,
  info TEXT,
  settings TEXT,
  UNIQUE (slug)
) WITHOUT ROWID;
CREATE TABLE project (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  name TEXT,
  description TEXT,
  FOREIGN KEY (tenant_id) REFERENCES tenant(id) ON DELETE CASCADE,
  UNIQUE (tenant_id, name)
) WITHOUT ROWID;
CREATE INDEX project_0 ON project (tenant_id);
CREATE TABLE flow_group (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  name TEXT,
  description TEXT,
  labels TEXT,
  schedule TEXT,
  run_config TEXT,
  default_parameters TEXT,
  settings TEXT,
  FOREIGN KEY (tenant_id) REFERENCES tenant(id) ON DELETE CASCADE,
  UNIQUE (tenant_id, name)
) WITHOUT ROWID;
CREATE INDEX flow_group_0 ON flow_group (tenant_id);
CREATE TABLE flow (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  project_id TEXT,
  flow_group_id TEXT,
  name TEXT,
  version INTEGER,
  version_group_id TEXT,
  archived INTEGER,
  core_version TEXT,
  description TEXT,
  environment TEXT,
  run_config TEXT,
  storage TEXT,
  parameters TEXT,
  serialized_flow TEXT,
  schedule TEXT,
  is_schedule_active INTEGER,
  settings TEXT,
  FOREIGN KEY (tenant_id) REFERENCES tenant(id) ON DELETE CASCADE,
  FOREIGN KEY (project_id) REFERENCES project(id) ON DELETE CASCADE,
  FOREIGN KEY (flow_group_id) REFERENCES flow_group(id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX flow_0 ON flow (name);
CREATE INDEX flow_1 ON flow (version_group_id);
CREATE INDEX flow_2 ON flow (tenant_id);
CREATE INDEX flow_3 ON flow (project_id);
CREATE INDEX flow_4 ON flow (flow_group_id);
CREATE TABLE task (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  flow_id TEXT,
  name TEXT,
  slug TEXT,
  description TEXT,
  type TEXT,
  max_retries INTEGER,
  retry_delay TEXT,
  trigger TEXT,
  tags TEXT,
  mapped INTEGER,
  auto_generated INTEGER,
  cache_key TEXT,
  is_root_task INTEGER,
  is_terminal_task INTEGER,
  is_reference_task INTEGER,
  FOREIGN KEY (flow_id) REFERENCES flow(id) ON DELETE CASCADE,
  UNIQUE (flow_id, slug)
) WITHOUT ROWID;
CREATE INDEX task_0 ON task (flow_id);
CREATE TABLE edge (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  flow_id TEXT,
  upstream_task_id TEXT,
  downstream_task_id TEXT,
  key TEXT,
  mapped INTEGER,
  FOREIGN KEY (flow_id) REFERENCES flow(id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX edge_0 ON edge (upstream_task_id);
CREATE INDEX edge_1 ON edge (downstream_task_id);
CREATE INDEX edge_2 ON edge (flow_id);
CREATE TABLE agent_config (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  name TEXT,
  settings TEXT
) WITHOUT ROWID;
CREATE TABLE agent (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  agent_config_id TEXT,
  name TEXT,
  type TEXT,
  core_version TEXT,
  labels TEXT,
  last_queried TEXT
) WITHOUT ROWID;
CREATE TABLE flow_run (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  flow_id TEXT,
  name TEXT,
  labels TEXT,
  parameters TEXT,
  context TEXT,
  run_config TEXT,
  scheduled_start_time TEXT,
  auto_scheduled INTEGER,
  times_resurrected INTEGER,
  idempotency_key TEXT,
  agent_id TEXT,
  heartbeat TEXT,
  start_time TEXT,
  end_time TEXT,
  version INTEGER,
  state TEXT,
  state_timestamp TEXT,
  state_message TEXT,
  state_result TEXT,
  state_start_time TEXT,
  serialized_state TEXT,
  FOREIGN KEY (flow_id) REFERENCES flow(id) ON DELETE CASCADE,
  UNIQUE (flow_id, idempotency_key)
) WITHOUT ROWID;
CREATE INDEX flow_run_0 ON flow_run (tenant_id, state, state_start_time);
CREATE INDEX flow_run_1 ON flow_run (state, id);
CREATE INDEX flow_run_2 ON flow_run (created);
CREATE INDEX flow_run_3 ON flow_run (start_time);
CREATE INDEX flow_run_4 ON flow_run (name);
CREATE INDEX flow_run_5 ON flow_run (agent_id);
CREATE INDEX flow_run_6 ON flow_run (flow_id);
CREATE TABLE task_run (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  flow_run_id TEXT,
  task_id TEXT,
  map_index INTEGER,
  name TEXT,
  cache_key TEXT,
  heartbeat TEXT,
  start_time TEXT,
  end_time TEXT,
  version INTEGER,
  state TEXT,
  state_timestamp TEXT,
  state_message TEXT,
  state_result TEXT,
  state_start_time TEXT,
  serialized_state TEXT,
  FOREIGN KEY (flow_run_id) REFERENCES flow_run(id) ON DELETE CASCADE,
  FOREIGN KEY (task_id) REFERENCES task(id) ON DELETE CASCADE,
  UNIQUE (flow_run_id, task_id, map_index)
) WITHOUT ROWID;
CREATE INDEX task_run_0 ON task_run (state, state_start_time);
CREATE INDEX task_run_1 ON task_run (task_id, state, state_timestamp);
CREATE INDEX task_run_2 ON task_run (cache_key, state, state_timestamp);
CREATE INDEX task_run_3 ON task_run (flow_run_id);
CREATE INDEX task_run_4 ON task_run (task_id);
CREATE TABLE flow_run_state (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  flow_run_id TEXT,
  timestamp TEXT,
  state TEXT,
  message TEXT,
  result TEXT,
  start_time TEXT,
  version INTEGER,
  serialized_state TEXT,
  FOREIGN KEY (flow_run_id) REFERENCES flow_run(id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX flow_run_state_0 ON flow_run_state (flow_run_id);
CREATE TABLE task_run_state (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  task_run_id TEXT,
  timestamp TEXT,
  state TEXT,
  message TEXT,
  result TEXT,
  start_time TEXT,
  version INTEGER,
  serialized_state TEXT,
  FOREIGN KEY (task_run_id) REFERENCES task_run(id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX task_run_state_0 ON task_run_state (task_run_id);
CREATE TABLE log (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  flow_run_id TEXT,
  task_run_id TEXT,
  timestamp TEXT,
  name TEXT,
  level TEXT,
  message TEXT,
  info TEXT,
  FOREIGN KEY (flow_run_id) REFERENCES flow_run(id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX log_0 ON log (flow_run_id, timestamp);
CREATE INDEX log_1 ON log (task_run_id, timestamp);
CREATE INDEX log_2 ON log (flow_run_id);
CREATE TABLE task_run_artifact (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  task_run_id TEXT,
  kind TEXT,
  data TEXT,
  FOREIGN KEY (task_run_id) REFERENCES task_run(id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX task_run_artifact_0 ON task_run_artifact (task_run_id);
CREATE TABLE key_value (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  key TEXT,
  value TEXT,
  UNIQUE (tenant_id, key)
) WITHOUT ROWID;
CREATE TABLE secret (
  id TEXT PRIMARY KEY,
  created TEXT,
  updated TEXT,
  tenant_id TEXT,
  name TEXT,
  value TEXT,
  UNIQUE (tenant_id, name)
) WITHOUT ROWID;
PRAGMA application_id = 1346587716;
PRAGMA user_version = 1;
