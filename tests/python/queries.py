"""Runs every query of docs/archive.md with DuckDB, in the directory that holds the archive.

usage: queries.py DOCUMENT DIRECTORY; prints a JSON object: how many rows each query gave, in their order.
"""

import json
import os
import re
import sys

import duckdb

document, directory = sys.argv[1:]
queries = re.findall(r"^```sql\n(.*?)^```$", open(document).read(), re.MULTILINE | re.DOTALL)
os.chdir(directory)
connection = duckdb.connect()
print(json.dumps({"rows": [len(connection.execute(query).fetchall()) for query in queries]}))
