-- The lists of a bucket's rows are written in pieces, before the transaction that says where they belong: acknowledgements
-- wait for the same disk, and one large transaction keeps it busy for long. A list has the number that it was given when it
-- was begun. Pieces of lists that no bucket has were left by a commit that was not finished; the next one deletes them.
CREATE TABLE live_pieces (
    list INTEGER NOT NULL,
    piece INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (list, piece)
) STRICT;
INSERT INTO live_pieces (list, piece, content) SELECT rowid, 0, content FROM live_lists;
CREATE TABLE live_places (
    class INTEGER NOT NULL,
    start INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    place INTEGER NOT NULL,
    list INTEGER NOT NULL,
    PRIMARY KEY (class, start, kind, place)
) STRICT;
INSERT INTO live_places (class, start, kind, place, list) SELECT class, start, kind, place, rowid FROM live_lists;
DROP TABLE live_lists;
