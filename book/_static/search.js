// A page opened as a file may not read the other pages, from which Sphinx's search takes its excerpts.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined")
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// Sphinx's search leaves out words of digits alone, and so every GPU that is called by its number.
document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return;
  const parse = Search._parseQuery;
  Search._parseQuery = (query) => {
    const parsed = parse(query);
    splitQuery(query.trim()).filter((word) => /^\d{3,}$/.test(word)).forEach((word) => parsed[1].add(word));
    return parsed;
  };
});
