"""The report floor: records in, tables, figures and one page per study out. No data set is needed.

report.py    what lies on disk: written whole, rewritten only when something changed
page.py      the page: which tables and figures, in which order, and the prose between them
calibration_page.py    the page of the calibration
contents.py  the tables of a study, as data
tables.py    what a table is, and how it reads in Markdown, LaTeX and CSV
figures.py   drawing
numbers.py   the numbers that tables and figures share
"""
