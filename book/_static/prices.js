// What a reader's price may be, on all pages: a number from 0 on, and at most `max` where its field has one.
window.vlmnbPrices = (() => {
  const valid = (text, top) => Boolean(String(text ?? "").trim()) && Number.isFinite(Number(text))
    && Number(text) >= 0 && !(Number(text) > Number(top || Infinity));
  return {
    valid,
    // The price in a field; NaN where there is none, so that no number follows from it.
    of: (field) => (valid(field.value, field.max) ? Number(field.value) : NaN),
    // Say beside the field what is wrong with it, or nothing.
    mark: (field) => {
      const label = field.closest("label");
      const said = label.nextElementSibling?.matches(".wrong") ? label.nextElementSibling : null;
      if (valid(field.value, field.max)) {
        field.removeAttribute("aria-invalid");
        said?.remove();
        return;
      }
      field.setAttribute("aria-invalid", "true");
      if (said) return;
      const wrong = Object.assign(document.createElement("span"), { className: "wrong" });
      wrong.setAttribute("role", "alert");
      wrong.textContent = `Write a number ${field.max ? `from 0 to ${field.max}` : "of 0 or more"}. Until then nothing is computed with it.`;
      label.after(wrong);
    },
  };
})();
