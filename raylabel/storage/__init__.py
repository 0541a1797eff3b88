"""The bytes behind a location: a local path (also of NFS) or a URI (``s3://``, ``gs://``, ``file://``).

``locations`` handles them as text, ``reading`` opens and reads files, ``stamps`` tells whether they changed,
``spellings`` finds names that are written otherwise, ``members`` reads files inside of archives and Parquet files,
``listing`` says what is in a folder, ``writing`` makes files that are there whole or not at all, ``folders`` is a
folder of such files. Whatever fails is an ``OSError`` (of a ``Folder``: a ``StoreError``).

Object stores are reached through pyarrow (``filesystems``), which is there for the Parquet tables anyway: it holds the
clients of S3 and Google Cloud, waits without the interpreter's lock, and reads ranges of Parquet files by itself.
fsspec would need another library for each store, and its ranges are asked for from Python. Local files are opened by
the system's own calls: no image waits for more than one ``open`` and ``fstat``.
"""
