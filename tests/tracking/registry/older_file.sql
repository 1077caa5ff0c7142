BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE artifact (
	id INTEGER NOT NULL, 
	name TEXT DEFAULT '' NOT NULL, 
	version INTEGER NOT NULL, 
	path TEXT DEFAULT '' NOT NULL, 
	kind TEXT DEFAULT '' NOT NULL, 
	stage TEXT DEFAULT 'draft' NOT NULL, 
	run_id INTEGER, 
	description TEXT DEFAULT '' NOT NULL, 
	created DOUBLE DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name, version), 
	FOREIGN KEY(run_id) REFERENCES run (id) ON DELETE SET NULL
);
INSERT INTO "artifact" VALUES(1,'net',1,'/nowhere/net','model','staging',7,'',1700000000.0);
CREATE TABLE dataset (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	path TEXT DEFAULT '' NOT NULL, 
	description TEXT DEFAULT '' NOT NULL, 
	created DOUBLE DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "dataset" VALUES(1,'digits','/nowhere/digits.npz','',1700000000.0);
CREATE TABLE experiment (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	family_id INTEGER, 
	name TEXT DEFAULT '' NOT NULL, 
	description TEXT DEFAULT '' NOT NULL, 
	created DOUBLE DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (project_id, name), 
	FOREIGN KEY(project_id) REFERENCES project (id) ON DELETE CASCADE, 
	FOREIGN KEY(family_id) REFERENCES family (id) ON DELETE SET NULL
);
INSERT INTO "experiment" VALUES(1,1,1,'wide','',1700000000.0);
CREATE TABLE family (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	name TEXT DEFAULT '' NOT NULL, 
	description TEXT DEFAULT '' NOT NULL, 
	created DOUBLE DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (project_id, name), 
	FOREIGN KEY(project_id) REFERENCES project (id) ON DELETE CASCADE
);
INSERT INTO "family" VALUES(1,1,'nets','',1700000000.0);
CREATE TABLE metric (
	run_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	last DOUBLE, 
	best DOUBLE, 
	last_step BIGINT NOT NULL, 
	best_step BIGINT NOT NULL, 
	PRIMARY KEY (run_id, name), 
	FOREIGN KEY(run_id) REFERENCES run (id) ON DELETE CASCADE
)
 WITHOUT ROWID

;
INSERT INTO "metric" VALUES(7,'eval.accuracy',0.5,0.75,100,50);
CREATE TABLE parameter (
	run_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	number DOUBLE, 
	text TEXT, 
	PRIMARY KEY (run_id, name), 
	FOREIGN KEY(run_id) REFERENCES run (id) ON DELETE CASCADE
)
 WITHOUT ROWID

;
INSERT INTO "parameter" VALUES(7,'seed',3.0,NULL);
CREATE TABLE project (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	description TEXT DEFAULT '' NOT NULL, 
	created DOUBLE DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "project" VALUES(1,'digits','Handwritten digits.',1700000000.0);
CREATE TABLE run (
	id INTEGER NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	workdir TEXT NOT NULL, 
	state TEXT NOT NULL, 
	pid INTEGER DEFAULT '0' NOT NULL, 
	host TEXT DEFAULT '' NOT NULL, 
	step INTEGER DEFAULT '0' NOT NULL, 
	num_steps INTEGER DEFAULT '0' NOT NULL, 
	started DOUBLE DEFAULT '0' NOT NULL, 
	heartbeat DOUBLE DEFAULT '0' NOT NULL, 
	message TEXT DEFAULT '' NOT NULL, 
	archived BOOLEAN DEFAULT 0 NOT NULL, 
	mark TEXT DEFAULT '' NOT NULL, 
	parameters TEXT DEFAULT '' NOT NULL, 
	metrics TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(experiment_id) REFERENCES experiment (id) ON DELETE CASCADE, 
	UNIQUE (workdir)
);
INSERT INTO "run" VALUES(7,1,'a','/nowhere/runs/a','done',1,'host',100,100,1700000000.0,1700000100.0,'',0,'mark','{"seed": 3}','{"eval.accuracy": [0.5, 100, 0.75, 50, "max"]}');
CREATE TABLE run_tag (
	run_id INTEGER NOT NULL, 
	tag TEXT NOT NULL, 
	PRIMARY KEY (run_id, tag), 
	FOREIGN KEY(run_id) REFERENCES run (id) ON DELETE CASCADE
);
INSERT INTO "run_tag" VALUES(7,'good');
CREATE TABLE workspace (
	id INTEGER NOT NULL, 
	uuid TEXT DEFAULT '' NOT NULL, 
	next_run INTEGER DEFAULT '0' NOT NULL, 
	is_whole BOOLEAN NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "workspace" VALUES(1,'0123456789abcdef0123456789abcdef',8,1);
CREATE INDEX ix_experiment_family_id ON experiment (family_id);
CREATE INDEX ix_run_name ON run (name);
CREATE INDEX ix_run_state ON run (state);
CREATE INDEX ix_run_experiment_id ON run (experiment_id);
CREATE INDEX ix_run_tag_tag ON run_tag (tag);
CREATE INDEX parameter_by_number ON parameter (name, number, run_id);
CREATE INDEX metric_by_last ON metric (name, last, run_id);
CREATE INDEX metric_by_best ON metric (name, best, run_id);
CREATE INDEX ix_artifact_run_id ON artifact (run_id);
COMMIT;
