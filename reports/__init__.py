"""The report floor: records in, tables, figures and one page per study out. No data set is needed,
but for data sheets.

report.py    what lies on disk: written whole, rewritten only when something changed
page.py      the page: which tables and figures, in which order, and the prose between them
calibration_page.py    the page of the calibration
contents.py  the tables of a study, as data
published.py ours against the numbers that others print (published.toml)
models.py    docs/models.md, from the models' files
tables.py    what a table is, and how it reads in Markdown, LaTeX and CSV
selection.py, controls.py, multiverse.py   parts of the page with tables and figures of their own
parts.py     what a page is made of, and what its figures have in common
figures.py   drawing
numbers.py   the numbers that tables and figures share
datasheet.py the findings on a data set, as a page
"""
