-- One row: where the log ends, up to which revision its records are forgotten, and a name for this database that no
-- other one has.
CREATE TABLE head (
	id        INTEGER PRIMARY KEY CHECK (id = 1),
	revision  INTEGER NOT NULL,
	forgotten INTEGER NOT NULL,
	identity  TEXT    NOT NULL
);
INSERT INTO head VALUES (1, 0, 0, lower(hex(randomblob(16))));

-- The records, newest ones only. Times are nanoseconds since 1970.
CREATE TABLE record (
	revision INTEGER PRIMARY KEY,
	id       TEXT    NOT NULL,
	time     INTEGER NOT NULL,
	who      TEXT    NOT NULL,
	why      TEXT    NOT NULL
);
CREATE TABLE write (
	revision INTEGER NOT NULL,
	key      TEXT    NOT NULL,
	data     BLOB, -- NULL: removed
	PRIMARY KEY (revision, key)
) WITHOUT ROWID;

-- What all records add up to.
CREATE TABLE value (
	key      TEXT PRIMARY KEY,
	revision INTEGER NOT NULL,
	data     BLOB    NOT NULL
);

CREATE TABLE history (
	fqn       TEXT    NOT NULL,
	revision  INTEGER NOT NULL,
	time      INTEGER NOT NULL,
	who       TEXT    NOT NULL,
	why       TEXT    NOT NULL,
	operation TEXT    NOT NULL,
	kind      TEXT    NOT NULL,
	before    TEXT    NOT NULL,
	after     TEXT    NOT NULL,
	PRIMARY KEY (fqn, revision)
);
CREATE INDEX history_revision ON history (revision);
