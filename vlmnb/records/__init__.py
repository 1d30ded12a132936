"""Records: what measuring a cell gave, their files, the index beside them and their export.

Everything that reads results imports from here; records import only from the folders that define what they
hold (meters, flops, quality, spec, device, models, data). Read ``record.py`` first, then ``record_file.py``.
"""
