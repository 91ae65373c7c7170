#!/usr/bin/env python3
"""Writes data/html_entity_names.inc, HTML 5's named character references, from Python's own table of them.

    scripts/html_entities.py            writes the table
    scripts/html_entities.py --check    fails when the table is not the one that Python has
    scripts/html_entities.py --list     NAME<tab>CHARACTERS IN HEX on standard output, with the semicolon where it is needed

Names that may stand without a semicolon are written `name?`, the others `name;`, followed by their characters in UTF-8.
"""
import html.entities
import pathlib
import sys

COLUMNS = 120
TABLE = pathlib.Path(__file__).resolve().parent.parent / 'data' / 'html_entity_names.inc'


def rows():
    names = html.entities.html5
    for name in sorted((n[:-1] for n in names if n.endswith(';')), key=lambda n: n.encode()):
        assert name not in names or names[name] == names[name + ';']
        characters = ''.join(f'\\{byte:03o}' for byte in names[name + ';'].encode())
        yield f'"{name}{"?" if name in names else ";"}{characters}",'


def table():
    lines = ['// HTML 5\'s named character references, sorted by name; made by scripts/html_entities.py.', '']
    for row in rows():
        if lines[-1] and len(lines[-1]) + 1 + len(row) <= COLUMNS:
            lines[-1] += ' ' + row
        else:
            lines.append(row)
    return '\n'.join(line for line in lines if line) + '\n'


def main():
    if sys.argv[1:] == ['--list']:
        for name, characters in sorted(html.entities.html5.items()):
            print(name, characters.encode().hex(), sep='\t')
    elif sys.argv[1:] == ['--check']:
        if TABLE.read_text() != table():
            sys.exit(f'{TABLE} is not what Python {sys.version.split()[0]} has: run scripts/html_entities.py')
    else:
        TABLE.write_text(table())


main()
