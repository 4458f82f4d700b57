BEGIN TRANSACTION;
CREATE TABLE batches (
    id INTEGER PRIMARY KEY, level INTEGER NOT NULL REFERENCES levels, place INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'claimed', 'done', 'failed')),
    worker TEXT, lease_until REAL, attempts INTEGER NOT NULL DEFAULT 0, failure TEXT, begun REAL, ended REAL,
    UNIQUE (level, place)
);
INSERT INTO "batches" VALUES(1,1,0,'done','node/1',NULL,1,NULL,1001.0,1002.0);
INSERT INTO "batches" VALUES(2,1,1,'done','node/1',NULL,1,NULL,1003.0,1004.0);
INSERT INTO "batches" VALUES(3,2,0,'claimed','node/1',1066.0,1,NULL,1006.0,NULL);
INSERT INTO "batches" VALUES(4,3,0,'waiting',NULL,NULL,0,NULL,NULL,NULL);
CREATE TABLE candidates (
    key TEXT PRIMARY KEY, level INTEGER NOT NULL, place INTEGER NOT NULL,
    batch INTEGER NOT NULL REFERENCES batches, predicted_mean REAL, predicted_std REAL,
    state TEXT CHECK (state IN ('done', 'failed')), accuracy REAL, interval REAL, parameters INTEGER, macs INTEGER,
    seconds REAL, failure TEXT, UNIQUE (level, place)
);
INSERT INTO "candidates" VALUES('0c0m',1,0,1,NULL,NULL,'done',61.5,2.25,820,4100,1.5,NULL);
INSERT INTO "candidates" VALUES('0c1m',1,1,1,NULL,NULL,'failed',NULL,NULL,830,4200,1.5,'left the finite numbers');
INSERT INTO "candidates" VALUES('0i0f',1,2,2,NULL,NULL,'done',58.0,2.5,700,3000,2.0,NULL);
INSERT INTO "candidates" VALUES('0c0m|1f2i',2,0,3,60.25,0.5,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "candidates" VALUES('0i0f|1f1i',2,1,3,59.0,0.25,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "candidates" VALUES('0c1c|1f1i|2m3a',3,0,4,62.0,0.75,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE levels (
    level INTEGER PRIMARY KEY, candidates INTEGER NOT NULL, fingerprint TEXT NOT NULL, proposed REAL NOT NULL
);
INSERT INTO "levels" VALUES(1,3,'e5ded5675d59480614482805b31926c6f71d53cdea6606fb359eb5c895f15ae3',1000.0);
INSERT INTO "levels" VALUES(2,2,'10c98d2dd4e64a0afbbaad87697df7ed2ea82a9f2449e596e251363df868affa',1005.0);
INSERT INTO "levels" VALUES(3,1,'14aa8eaee1335b05c006d7e574940a1290d0b4ed921aa2e6afd6daac5da587f2',1007.0);
CREATE TABLE scores (
    key TEXT NOT NULL REFERENCES candidates, seed INTEGER NOT NULL, accuracy REAL NOT NULL, interval REAL,
    PRIMARY KEY (key, seed)
);
INSERT INTO "scores" VALUES('0c0m',3,61.5,2.25);
INSERT INTO "scores" VALUES('0i0f',3,58.0,2.5);
CREATE INDEX unfinished ON batches (level, place) WHERE state IN ('waiting', 'claimed');
CREATE INDEX of_batch ON candidates (batch, place);
COMMIT;
