#!/usr/bin/env bash
# jupyter-book 1.0.4.post1, sphinx-external-toc 1.1.0: Sphinx's -j with -W fails for every book.
#
# Guess: a book whose extensions all allow it is read by two processes.
# Seen: sphinx_external_toc, which reads _toc.yml, loads sphinx_multitoc_numbering, which does not say whether pages
# may be read in parallel. Sphinx reads them one after the other and warns, and with -W the build fails. Leaving the
# extension out of the configuration changes nothing.
# Output: -W 0, -j 2 -W 2, the extension that does not declare it: sphinx_multitoc_numbering
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check jupyter-book==1.0.4.post1 \
  sphinx-book-theme==1.1.4 pydata-sphinx-theme==0.15.4 sphinx-external-toc==1.1.0 sphinx-multitoc-numbering==0.1.3 \
  Sphinx==7.4.7
mkdir "$work/book"
cd "$work/book"
printf 'title: Book\nexecute: {execute_notebooks: "off"}\n' > _config.yml
printf 'format: jb-book\nroot: page0\nchapters:\n' > _toc.yml
for n in 0 1 2 3 4 5 6 7; do printf '# Page %s\n' "$n" > "page$n.md"; done
for n in 1 2 3 4 5 6 7; do echo "- file: page$n" >> _toc.yml; done
"$work/env/bin/jupyter-book" config sphinx . > /dev/null 2>&1
sed -i "s/'sphinx_multitoc_numbering', *//; s/, *'sphinx_multitoc_numbering'//" conf.py
build() { "$work/env/bin/python" -m sphinx -q -b html -d "$work/$1" "${@:2}" . "$work/html-$1" > "$work/$1.log" 2>&1 && echo 0 || echo $?; }
alone=$(build alone -W)
two=$(build two -j 2 -W)
named=$(grep -o '[a-z_]* extension does not declare if it is safe for parallel reading' "$work/two.log" | cut -d' ' -f1 | sort -u)
echo "-W $alone, -j 2 -W $two, the extension that does not declare it: $named"
test "$alone $two $named" = "0 2 sphinx_multitoc_numbering"
